"""An adult dependent shows the children's certificates as long as the subscriber who allowed it is the household's.

A permission whose giver is not certain, since the household has had several subscribers, has to be given again.
"""


def up(migrator, db):
    db.execute_sql("ALTER TABLE member ADD COLUMN allowed_by INTEGER")
    db.execute_sql(
        "UPDATE member SET allowed_by = (SELECT CASE count(*) WHEN 1 THEN max(s.id) END FROM member s"
        " WHERE s.household = member.household AND s.relation = 1) WHERE shows_children"
    )


def down(migrator, db):
    db.execute_sql("ALTER TABLE member DROP COLUMN allowed_by")
