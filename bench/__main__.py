"""Measure every figure in one run. Each part can also be run alone, e.g. `python -m bench.live`."""

from bench import flood, import_live, live, memory, page, proxy, revoke, roster, secrecy, stall

for part in (live, proxy, flood, memory, stall, revoke, secrecy, roster, import_live, page):
    part.main()
    print()
