"""Stand-ins for the outside world: registrars and webhook endpoints over real HTTP, with a knob for every fault.

The demo, the chaos trial and developers use them; nothing of the daemon imports them.
"""

from __future__ import annotations

from receiptd.simulation.knobs import HookKnobs, Knobs, RegistrarKnobs
from receiptd.simulation.simulator import Simulator, SimulatorOptions

__all__ = ["HookKnobs", "Knobs", "RegistrarKnobs", "Simulator", "SimulatorOptions"]
