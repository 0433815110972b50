"""How a report looks: one HTML page that needs neither network nor scripts, in light and dark."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, StrictUndefined

STYLE = """
:root { color-scheme: light dark; --ink: #1f2733; --muted: #5f6977; --faint: #e3e7ec; --page: #fff; --card: #f6f7f9;
  --accent: #2f6fde; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --muted: #9aa5b4; --faint: #323a46; --page: #161a20;
  --card: #1f252d; --accent: #7fa9f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .25rem; padding-top: 1.2rem; border-top: 1px solid var(--faint); }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; max-width: 52rem; }
.lead, small, figcaption, .notes { color: var(--muted); }
.notes { max-width: 52rem; padding-left: 1.2rem; }
figure { margin: 1.5rem 0; }
figure.chart { border: 1px solid var(--faint); border-radius: 10px; padding: .75rem; }
figure.chart svg { display: block; width: 100%; max-width: 64rem; height: auto; margin: 0 auto; }
figure.table > figcaption { color: var(--ink); font-weight: 600; margin-bottom: .4rem; }
.scroll { overflow-x: auto; border: 1px solid var(--faint); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .8rem; text-align: right; vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--page); }
th:first-child { max-width: 22rem; white-space: normal; font-weight: 600; }
thead th { color: var(--muted); font-weight: 500; border-bottom: 1px solid var(--faint); vertical-align: bottom; }
tbody tr + tr > * { border-top: 1px solid var(--faint); }
tbody tr.dim > * { color: var(--muted); font-weight: 400; }
td small { display: block; font-size: .75rem; line-height: 1.35; }
.words td { white-space: normal; overflow-wrap: anywhere; }
.videos { display: grid; gap: 1.5rem; }
.videos figure { margin: 0; }
video { width: 100%; border-radius: 10px; background: var(--card); }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--accent); font-weight: 500; }
pre { overflow-x: auto; background: var(--card); border-radius: 10px; padding: .9rem 1rem; font-size: .8125rem;
  line-height: 1.6; }
code { font-size: .8125rem; background: var(--card); border-radius: 4px; padding: .1rem .3rem; }
a { color: var(--accent); }
@media print { details > * { display: block; } main { max-width: none; } }
"""

PAGE = """
{%- macro table(sheet, kind="") %}
<figure class="table">
<figcaption>{{ sheet.title }}</figcaption>
<div class="scroll"><table{% if kind %} class="{{ kind }}"{% endif %}>
<thead><tr>{% for name in sheet.header %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in sheet.rows %}
<tr{% if loop.index0 >= sheet.rows | length - sheet.num_dim %} class="dim"{% endif %}>
{%- for cell in row %}
{% if loop.first %}<th scope="row">{{ cell }}</th>
{%- else %}<td>{% for line in cell.split("\\n") %}
{% if loop.first %}{{ line }}{% else %}<small>{{ line }}</small>{% endif %}{% endfor %}</td>{% endif %}
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
</figure>
{%- endmacro -%}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style | safe }}{{ theme | safe }}</style>
</head>
<body><main>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{% if overview %}{{ table(overview) }}{% endif %}
{% for part in parts %}
<section>
<h2>{{ part.env }}</h2>
<p class="lead">{{ part.tasks }}</p>
{% for chart in part.charts %}
<figure class="chart">{{ chart | safe }}</figure>
{% endfor %}
{% for sheet in part.sheets %}{{ table(sheet) }}
{% endfor %}
<h3>Videos</h3>
{% if part.videos %}
<div class="videos">
{% for video in part.videos %}
<figure><video controls preload="metadata" src="{{ video.source }}"></video>
<figcaption>{% if video.source == video.href %}<a href="{{ video.href }}">{{ video.caption }}</a>
{%- else %}{{ video.caption }}{% endif %}</figcaption></figure>
{% endfor %}
</div>
{% else %}
<p>No run folder here holds a video yet. <code>{{ part.record }}</code> makes one, and the next report shows it.</p>
{% endif %}
{% if part.differences.rows %}
<details><summary>Configuration: what differs between the methods</summary>
{{ table(part.differences, "words") }}</details>
{% endif %}
<details><summary>Commands that make these runs</summary>
<pre>{% for line in part.commands %}{{ line }}
{% endfor %}</pre></details>
</section>
{% endfor %}
<h2>Notes</h2>
<ul class="notes">
{% for note in notes %}<li>{{ note }}</li>
{% endfor %}
</ul>
</main></body>
</html>
"""


def render(**content: Any) -> str:
    """The page. Every text in `content` is escaped; only charts, their theme and the style above are not."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string(PAGE).render(style=STYLE, **content) + "\n"
