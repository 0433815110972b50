"""`record_run`, as a Python user calls it."""

from __future__ import annotations

import pytest
from PIL import Image

from envs.errors import InputError
from metarl.training.run import Run
from metarl.video.record import VideoConfig, record_run


def test_a_video_and_its_frame_are_written(trained, tmp_path, capfd):
    output, frame = tmp_path / "new" / "v.gif", tmp_path / "v.png"
    config = VideoConfig(num_tasks=1, num_steps=1)
    assert record_run(Run.open(trained), output, config, frame) == output
    with Image.open(output) as video, Image.open(frame) as still:
        assert video.size == still.size and video.n_frames > 1
    assert capfd.readouterr().out == ""


def test_bad_input_is_named_before_anything_is_played(trained, make_run, tmp_path):
    with pytest.raises(InputError, match="seed"):
        record_run(Run.open(trained), tmp_path / "v.gif", VideoConfig(seed=-1))
    with pytest.raises(InputError, match=r"\.mp4 or \.gif"):
        record_run(Run.open(trained), tmp_path / "v.avi")
    with pytest.raises(InputError, match=r"holds no checkpoint\.pt"):
        record_run(make_run(), tmp_path / "v.gif")
