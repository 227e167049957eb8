"""Writes what each task did to each node as JSON lines, for the convergence engine.

The file is named by the environment variable KUBEDOS_ANSIBLE_EVENTS; without it the plugin is silent, so that playbooks
that are run by hand behave as always.
"""

from __future__ import annotations

import json
import os
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kubedos
type: notification
short_description: writes task results as JSON lines
version_added: historical
description:
  - One object a line for each start and result of a task on a host.
  - The file is named by the environment variable E(KUBEDOS_ANSIBLE_EVENTS).
"""

LONGEST_MESSAGE = 4000


class CallbackModule(CallbackBase):
    """Notification callback without options."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "kubedos"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        path = os.environ.get("KUBEDOS_ANSIBLE_EVENTS")
        if not path:
            self.disabled = True
            return
        self.out = open(path, "a", encoding="utf-8", buffering=1)

    def _write(self, **line):
        line["at"] = round(time.time(), 3)
        self.out.write(json.dumps(line, sort_keys=True) + "\n")

    def _result(self, outcome, result, ignored=False):
        task = result._task
        data = result._result
        if outcome == "ok" and data.get("changed"):
            outcome = "changed"
        message = ""
        if outcome in ("failed", "unreachable"):
            message = self._message(task, data)
        self._write(
            event="result",
            host=result._host.get_name(),
            task=task.get_name(),
            place=task.get_path() or "",
            outcome=outcome,
            ignored=bool(ignored),
            message=message,
        )

    @staticmethod
    def _message(task, data):
        if task.no_log or data.get("_ansible_no_log"):
            return "hidden: the task has no_log"
        parts = [str(data[key]).strip() for key in ("msg", "module_stderr", "stderr", "module_stdout", "stdout") if data.get(key)]
        return "\n".join(parts)[:LONGEST_MESSAGE]

    def v2_runner_on_start(self, host, task):
        self._write(event="start", host=host.get_name(), task=task.get_name())

    def v2_runner_on_ok(self, result):
        self._result("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._result("failed", result, ignore_errors)

    def v2_runner_on_unreachable(self, result):
        self._result("unreachable", result)

    def v2_runner_on_skipped(self, result):
        self._result("skipped", result)

    def v2_playbook_on_stats(self, stats):
        for host in sorted(stats.processed):
            self._write(event="stats", host=host, **stats.summarize(host))
