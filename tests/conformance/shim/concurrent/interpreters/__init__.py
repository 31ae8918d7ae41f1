"""`concurrent.interpreters`, but isles; what isles has no part in is the standard library's."""

import pkgutil

from isles import *

__path__ = pkgutil.extend_path(__path__, __name__)
