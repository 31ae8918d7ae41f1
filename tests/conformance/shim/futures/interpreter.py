"""`concurrent.futures.interpreter`, but isles."""

from isles.futures import *
