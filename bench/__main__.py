"""Every figure, in one run. Each part also runs alone: python -m bench.live, and so on."""

from bench import flood, import_live, live, page, revoke, roster, secrecy

for part in (live, flood, revoke, secrecy, roster, import_live, page):
    part.main()
    print()
