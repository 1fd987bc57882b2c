"""Tables of cases that the data code must read: folder layouts and image encodings."""
