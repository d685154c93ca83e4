"""The lab's `schedules/` folder under a name that nobody else's file has.

`schedules/` lies beside `tuner/`, in a checkout and in an installation alike. Under the name `schedules` it
would be looked for along `sys.path`, where a user's own `schedules.py` (of learning rates, say) comes first,
and a program could not have both. So the lab imports it as `tuner.schedules`: by its place, not by a search.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "schedules")]
