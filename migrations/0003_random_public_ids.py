"""Certificate ids are drawn anew: those of version 0.1.0 began with the row's number in its import.

Some rows at a time, so that nobody waits for a lock. Interrupted, it begins again, which harms nothing.
"""

ROWS = 20_000

atomic = False


def up(migrator, db):
    on_sqlite = "sqlite" in type(db).__name__.lower()
    # 96 random bits; gen_random_uuid() holds 122, of which the hash leaves no fixed digits
    drawn = "lower(hex(randomblob(12)))" if on_sqlite else "substr(md5(gen_random_uuid()::text), 1, 24)"
    last = db.execute_sql("SELECT coalesce(max(id), 0) FROM member").fetchone()[0]
    for start in range(0, last + 1, ROWS):
        db.execute_sql(f"UPDATE member SET public_id = {drawn} WHERE id >= {start} AND id < {start + ROWS}")


def down(migrator, db):
    pass
