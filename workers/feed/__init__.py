"""Live streams as documents: connect, cut into overlapping segments, stamp with wall-clock time. Knows no broker.

``uri`` names and masks, ``source`` connects and demuxes, ``cutter`` decides where segments begin and end, ``recode``
makes streams cuttable that are not, ``mux`` writes a segment as a file, ``clock`` gives wall-clock time, ``session``
puts them together for one connection. Reconnecting, queueing and publishing are the shell's (``streams.feed``).
"""
