"""Every figure, in one run. Each part also runs alone: python -m bench.live, and so on."""

from bench import live, page, revoke, roster, secrecy

for part in (live, revoke, secrecy, roster, page):
    part.main()
    print()
