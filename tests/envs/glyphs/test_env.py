"""Label prediction on letters: what is shown, what is hidden, what an answer pays, and how episodes are scored."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from glyph_plays import generator, glyphs, play

import envs
from envs.glyphs import State
from envs.glyphs.letters import letters, split_of


class TestTasks:
    @pytest.mark.parametrize("split", ["train", "validation", "test"])
    def test_letters_are_of_different_groups_of_the_split(self, split):
        group = dict(zip(letters().code.tolist(), letters().group, strict=True))
        task = glyphs(5).sample_tasks(200, generator(), split)
        assert task.letter.shape == (200, 5)
        for row in task.letter.tolist():
            names = {group[code] for code in row}
            assert len(names) == 5 and {split_of(name) for name in names} == {split}

    @pytest.mark.parametrize("letter", [[65, 66, 66], [65, 66, 32], [65, 66, 0x10FFFF], [65, 66]])
    def test_a_task_needs_different_letters(self, letter, sentence):
        with pytest.raises(envs.InputError) as error:
            glyphs(3).task_from_dicts([{"letter": [65, 66, 67]}, {"letter": letter}])
        assert "'letter'" in sentence(error)


class TestEpisodes:
    def test_each_letter_is_shown_equally_often_in_another_order(self):
        env = glyphs(3, 4)
        state, _ = env.reset(env.sample_tasks(6, generator()), 5, generator(1))
        counts = torch.nn.functional.one_hot(state.label.long(), 3).sum(-2)
        assert (counts == 4).all()
        assert len({tuple(row) for row in state.label.flatten(0, 1).tolist()}) > 20

    def test_letters_are_shown_as_equally_as_the_horizon_allows(self):
        env = envs.make("glyphs", horizon=13)
        state, _ = env.reset(env.sample_tasks(6, generator()), 5, generator(1))
        counts = torch.nn.functional.one_hot(state.label.long(), 5).sum(-2)
        assert counts.min() == 2 and counts.max() == 3

    def test_an_observation_is_the_instance_and_the_label_before(self):
        env = glyphs(3, 4)
        task = env.sample_tasks(4, generator())
        states, obs, _ = play(env, task, torch.randint(3, (4, 12, 2), generator=generator(1)))
        assert obs.shape == (4, 13, 2, 784 + 4) and obs.min() >= 0 and obs.max() == 1
        torch.testing.assert_close(obs[..., :784], states.image / 255)
        told, label = obs[..., 784:], states.label[:, 0].transpose(1, 2)  # [N, H + 1, E, 4], [N, H, E]
        assert (told.sum(-1) == 1).all() and (told[:, 0, :, 3] == 1).all()
        assert torch.equal(told[:, 1:].argmax(-1), label.long())

    def test_the_label_is_hidden_until_after_the_answer(self):
        """What is seen up to an answer stays the same when the labels from there on change."""
        env = glyphs(2, 3, max_rotation=0.0, max_shift=0.0, max_zoom=0.0)
        task = env.task_from_dicts([{"letter": [65, 66]}, {"letter": [66, 65]}])  # only the labels are swapped
        state, _ = env.reset(task, 1, generator())
        state = dataclasses.replace(state, label=torch.tensor([[[0, 1, 0, 1, 0, 1]], [[1, 0, 1, 0, 1, 0]]]).byte())
        results = []
        for n in range(2):
            one = State.map(state, lambda x, n=n: x[n : n + 1])
            results.append(env.step(task[n : n + 1], one, torch.zeros(1, 1, dtype=torch.int64), generator(2)))
        first, second = results
        assert torch.equal(first.obs[..., :784], second.obs[..., :784])
        assert first.obs[0, 0, 784:].tolist() == [1, 0, 0] and second.obs[0, 0, 784:].tolist() == [0, 1, 0]
        assert (first.reward.item(), second.reward.item()) == (1.0, 0.0)

    def test_a_right_answer_pays_one(self):
        env = glyphs(3, 4)
        actions = torch.randint(3, (4, 12, 2), generator=generator(1))
        states, _, rewards = play(env, env.sample_tasks(4, generator()), actions)
        assert torch.equal(rewards, (actions == states.label[:, 0].transpose(1, 2)).float())
        assert torch.equal(states.answer[:, -1].long(), actions.transpose(1, 2))
        assert (states.answer[:, 3, :, 3:] == -1).all() and (states.time[:, 3] == 3).all()

    def test_only_asking_reveals_a_label_in_the_active_form(self):
        env = glyphs(3, 4, active=True)
        assert env.action_space.n == 4
        actions = torch.randint(4, (4, 12, 2), generator=generator(1))
        states, obs, rewards = play(env, env.sample_tasks(4, generator()), actions)
        label, asked = states.label[:, 0].transpose(1, 2).long(), actions == 3
        assert asked.any() and (rewards[asked] == -0.05).all()
        assert torch.equal(rewards[~asked], torch.where(actions == label, 1.0, -1.0)[~asked])
        assert torch.equal(obs[:, 1:, :, 784:].argmax(-1), torch.where(asked, label, 3))


class TestScores:
    def hand_made(self, answers: list[int], active: bool) -> dict[str, torch.Tensor]:
        """Two letters, three times each, in the order 0 0 1 0 1 1."""
        env = glyphs(2, 3, active=active)
        task = env.task_from_dicts([{"letter": [65, 66]}])
        state, _ = env.reset(task, 1, generator())
        label, answer = torch.tensor([[[0, 0, 1, 0, 1, 1]]]).byte(), torch.tensor([[answers]], dtype=torch.int8)
        last = dataclasses.replace(state, label=label, answer=answer)
        return env.scores(task, State.stack([last], 1), torch.tensor([[answers]]), torch.zeros(1, 6, 1))

    def test_they_count_right_answers_by_instance(self):
        scores = self.hand_made([0, 1, 0, 0, 1, 0], active=False)
        assert {name: x.tolist() for name, x in scores.items()} == {
            "instance 1": [[0.5]],  # letter 0
            "instance 2": [[0.5]],  # letter 1
            "instance 3": [[0.5]],  # letter 0
        }

    def test_asking_is_counted_apart(self):
        scores = self.hand_made([2, 0, 2, 2, 1, 1], active=True)
        values = {name: x.item() for name, x in scores.items()}
        assert [values[f"instance {k}"] for k in (1, 2, 3)] == [0, 1, 0.5]
        assert [values[f"asked {k}"] for k in (1, 2, 3)] == [1, 0, 0.5]
