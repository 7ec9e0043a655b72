"""A real deployment: Flower carries the messages over TLS between a coordinator and the nodes of the sites."""

import os

# Before anything of Flower is imported: no reports to its makers, no look for updates, nothing installed at run time.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] = "1"
