"""`concurrent.interpreters._queues`, but isles."""

from isles.queues import *
