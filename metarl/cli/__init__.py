"""What the scripts share: options of a session, and that a user's mistake ends in one sentence, not in a traceback."""

from metarl.cli.main import progress_bar as progress_bar
from metarl.cli.main import run_main as run_main
from metarl.cli.session import Session as Session
from metarl.cli.session import TrainSession as TrainSession
