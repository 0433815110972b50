#!/usr/bin/env bash
# Trains, evaluates and compares eight methods on four families under equal budgets: the first table of results in
# README.md. `untrained` is a fresh policy that adapts as MAML's does.
#
#   [SEEDS="0 1 2"] bash experiments/side_by_side.sh [FOLDER [FAMILY...]]
#
# FOLDER is runs/side-by-side unless told. Families: bandit gridworld point half-cheetah-vel, all unless told. SEEDS are
# ten, on HalfCheetah five, unless told. What is there already is kept, what was interrupted is resumed. One core;
# several calls with other families or seeds share the work.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-runs/side-by-side}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- bandit gridworld point half-cheetah-vel

methods() { # method, iterations, other options
  case $1 in
  bandit) # 1.2 million steps
    printf '%s\n' 'metanet 120' 'rl2 120' 'maml 150' 'promp 150' 'reptile 100' 'sb3-ppo 300' 'sb3-ppo-informed 300' ;;
  gridworld) # 4.3 million
    printf '%s\n' 'metanet 180' 'rl2 180' 'maml 85' 'promp 85' 'reptile 114' 'sb3-ppo 343' 'sb3-ppo-informed 343' ;;
  point) # 2.0 million
    printf '%s\n' 'metanet 67' 'rl2 67' 'maml 25' 'promp 25' 'reptile 17' 'sb3-ppo 50' 'sb3-ppo-informed 50' ;;
  half-cheetah-vel) # 4.0 million
    printf '%s\n' 'metanet 100' 'rl2 100' 'maml 112' 'promp 112' \
      'reptile 17' 'sb3-ppo 50' 'sb3-ppo-informed 50' ;;
  *) echo "There is no comparison on '$1'; choose among bandit, gridworld, point and half-cheetah-vel." >&2; exit 2 ;;
  esac
  printf '%s\n' 'sb3-ppo-scratch 0' 'maml 0'
}

evaluation() { # the same tasks and episodes for every method
  case $1 in
  bandit) echo --num-tasks 400 --num-envs 1 ;;
  gridworld) echo --num-tasks 105 --num-envs 20 ;;
  *) echo --num-tasks 40 --num-envs 20 ;;
  esac
}

seeds() {
  case $1 in
  half-cheetah-vel) echo "${SEEDS:-0 1 2 3 4}" ;;
  *) echo "${SEEDS:-0 1 2 3 4 5 6 7 8 9}" ;;
  esac
}

for family in "$@"; do methods "$family" > /dev/null; done
for family in "$@"; do
  for seed in $(seeds "$family"); do
    methods "$family" | while read -r method iterations options; do
      name=$method
      [ "$method $iterations" != "maml 0" ] || name=untrained
      run=$folder/$name-$family-s$seed
      [ -e "$run/evaluation-test.json" ] && continue
      echo "== $run"
      if [ -e "$run/config.json" ]; then
        python scripts/train.py --resume "$run" --num-threads 1 < /dev/null
      else
        # shellcheck disable=SC2086
        python scripts/train.py "$method-$family" --num-iterations "$iterations" $options --seed $seed \
          --num-threads 1 --run-dir "$run" < /dev/null
      fi
      # shellcheck disable=SC2046
      python scripts/evaluate.py "$run" --num-threads 1 $(evaluation "$family") < /dev/null
    done
  done
done
for family in "$@"; do
  python scripts/compare.py "$folder"/*-"$family"-s* --output "$folder/$family.html"
done
