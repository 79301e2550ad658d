"""Events as frozen values, one module for each subject; all of them are imported from here."""

# ruff: noqa: F403 - a list of all events would have to be kept in a second place
from drover.core.events.background_events import *
from drover.core.events.cleanup_events import *
from drover.core.events.cluster_events import *
from drover.core.events.event import *
from drover.core.events.service_events import *
from drover.core.events.session_events import *
