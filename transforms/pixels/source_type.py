"""What made a photo: IPTC's DigitalSourceType, the one statement of a file that its picture has to repeat.

Shops want pictures that were made by a machine to say so (Google Merchant Center: the tag must not be removed). Nothing
else that a file says of itself is carried over.
"""

from __future__ import annotations

import re

SCHEME = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Of IPTC's terms, such as `trainedAlgorithmicMedia`."""
_STATED = re.compile(re.escape(SCHEME.encode()) + rb"([A-Za-z]{1,60})(?![A-Za-z])")
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="{}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def find(data: bytes) -> str:
    """Find the term in a photo's file, whatever its format: XMP stands in it as plain text. Empty if it says none."""
    found = _STATED.search(data)
    return "" if found is None else found[1].decode("ascii")


def packet(term: str) -> str:
    """Write an XMP packet that says the term and nothing else."""
    return _PACKET.format(SCHEME + term)
