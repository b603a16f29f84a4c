"""What other terminals asked a run to end, and when they are answered: as soon as all of it has ended.

This decides nothing. The loop says which attempts a request has to wait for, and which of them came back unstarted.
"""

from collections.abc import Collection, Mapping

from buildrunner.control import Request
from buildrunner.job import Job, JobState


class Asked:
    """The requests that are not answered yet."""

    def __init__(self) -> None:
        self._open: list[tuple[Request, Mapping[str, str]]] = []  # and attempts (→ job) they wait for
        self._unstarted: set[str] = set()

    def add(self, request: Request, attempts: Mapping[str, str]) -> None:
        """Somebody waits for the end of these attempts (→ job)."""
        self._open.append((request, attempts))

    def came_back(self, attempt: str) -> None:
        """An attempt that was to end had not started."""
        self._unstarted.add(attempt)

    def answer(self, current: Collection[str], jobs: Mapping[str, Job]) -> None:
        """Answer those who asked for jobs to end, if none of their attempts is `current` any more."""
        left = []
        for request, attempts in self._open:
            if request.jobs is None or any(attempt in current for attempt in attempts):
                left.append((request, attempts))
            else:
                came_back = self._unstarted.intersection(attempts)
                request.dropped = [*request.dropped, *sorted(attempts[attempt] for attempt in came_back)]
                ran = {attempt: name for attempt, name in attempts.items() if attempt not in came_back}
                states = {name: jobs[name].state for name in ran.values()}
                request.kept = {name: state for name, state in states.items() if state is not JobState.CANCELLED}
                request.answer(ran)
        self._open = left

    def answer_all(self) -> None:
        """Answer whoever is left, which is who asked for the end of the whole run, now that it is recorded."""
        for request, attempts in self._open:
            request.answer(attempts)
