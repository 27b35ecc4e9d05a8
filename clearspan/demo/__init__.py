"""The demonstration: three domains on loopback, real files, a load, a kill, an audit; `clearspan demo`.

plan        what is done and what must come of it
conductor   network, nodes, kill, report; the only part that starts processes
client      the clearing house's process; files, kinds and children are its parts
checker     the process that reads everything back
report      what was found, for programs and for people
command     the command line
"""

from __future__ import annotations

from clearspan.demo.command import command
from clearspan.demo.conductor import DemoHooks, Stage, run_demo
from clearspan.demo.plan import DemoPlan
from clearspan.demo.report import DemoReport

__all__ = ["DemoHooks", "DemoPlan", "DemoReport", "Stage", "command", "run_demo"]
