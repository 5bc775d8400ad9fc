"""Requests of this service that are going on in a cluster, and how fast they were answered.

exo does not let a client choose the instance of a model: which one has a request is known only once a reply's
``id`` has come, or from the cluster's list of tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kowalski_jupyter.cluster.exo.views import Instance, Task

_WEIGHT = 0.3
"""Of the newest reply, in the smoothed speed of an instance."""


class Request:
    """One request that is going on. Whoever sends it says here what happens to it.

    Args:
        traffic: what it is part of.
        cluster: key of the cluster.
        model: that was asked for.
    """

    def __init__(self, traffic: Traffic, cluster: str, model: str) -> None:
        self.cluster = cluster
        self.model = model
        self.command = ""
        self._traffic = traffic

    def named(self, command: str) -> None:
        """Note the ``id`` of its reply."""
        self.command = command

    def done(self, tokens: int = 0, seconds: float = 0.0) -> None:
        """Note its end, well or badly. May be called twice.

        Args:
            tokens: of the reply, if it is whole.
            seconds: from its first token to its last.
        """
        self._traffic.end(self, tokens, seconds)


class Traffic:
    """All requests of this service to exo. Belongs to one event loop."""

    def __init__(self) -> None:
        self._open: set[Request] = set()
        self._homes: dict[str, str] = {}
        self._speeds: dict[str, float] = {}

    def begin(self, cluster: str, model: str) -> Request:
        """Note that a request is about to be sent."""
        request = Request(self, cluster, model)
        self._open.add(request)
        return request

    def end(self, request: Request, tokens: int, seconds: float) -> None:
        """See `Request.done`."""
        self._open.discard(request)
        home = self._homes.pop(request.command, "")
        if home and tokens > 1 and seconds > 0:
            speed = tokens / seconds
            known = self._speeds.get(home, speed)
            self._speeds[home] = known + _WEIGHT * (speed - known)

    def speed(self, instance: str) -> float | None:
        """Return tokens per second of one reply of that instance, smoothed; None before the first."""
        return self._speeds.get(instance)

    def waiting(self, cluster: str, model: str) -> int:
        """Return how many requests of ours go on with that model there."""
        return sum(request.cluster == cluster and request.model == model for request in self._open)

    def shares(
        self, cluster: str, instances: Mapping[str, Instance], tasks: Sequence[Task]
    ) -> dict[str, tuple[int, int]]:
        """Tell for each instance how many of its tasks are ours and how many are others'.

        A request whose reply has no id yet is taken to be one of the tasks of its model that nobody is known for; one
        that has not reached the cluster's list yet is counted with the model's first instance.
        """
        ours = dict.fromkeys(instances, 0)
        others = dict.fromkeys(instances, 0)
        named = {request.command: request for request in self._open if request.command}
        for task in tasks:
            if task.instance not in instances:
                continue
            if task.command in named:
                self._homes[task.command] = task.instance
                ours[task.instance] += 1
            else:
                others[task.instance] += 1
        for model in {instance.model for instance in instances.values()}:
            same = [key for key, instance in instances.items() if instance.model == model]
            unplaced = self.waiting(cluster, model) - sum(ours[key] for key in same)
            for key in same:
                taken = max(0, min(unplaced, others[key]))
                ours[key] += taken
                others[key] -= taken
                unplaced -= taken
            ours[same[0]] += max(0, unplaced)
        return {key: (ours[key], others[key]) for key in instances}

    def keep_only(self, instances: set[str]) -> None:
        """Forget what is known of instances that are gone."""
        for known in self._speeds.keys() - instances:
            del self._speeds[known]
