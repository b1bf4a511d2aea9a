"""For tests: buses in memory, and the contracts of a bus and of a cluster as suites that a driver passes."""

from duplexio.testing.check_adapter import ADAPTER_CHECKS, check_adapter
from duplexio.testing.check_bus import BUS_CHECKS, check_bus
from duplexio.testing.memory_bus import MemoryBus, MemoryCluster

__all__ = ["ADAPTER_CHECKS", "BUS_CHECKS", "MemoryBus", "MemoryCluster", "check_adapter", "check_bus"]
