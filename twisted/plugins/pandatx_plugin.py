"""`twistd panda`."""

from twisted.application.service import ServiceMaker

panda = ServiceMaker("panda", "pandatx.tap", "The PanDA server", "panda")
