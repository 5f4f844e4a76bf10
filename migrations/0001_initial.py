# Generated from a schema diff on 2026-11-23 06:02.
from peewee import *


def up(migrator, db):
    class Member(Model):
        public_id = CharField(unique=True, max_length=24)
        person_id = CharField(unique=True, null=True)
        household = CharField()
        insurer_number = CharField(max_length=8)
        symbol = CharField(default='')
        number = CharField()
        branch = CharField(max_length=2, default='')
        name = CharField()
        kana = CharField(default='')
        birth_date = DateField()
        sex = SmallIntegerField()
        relation = SmallIntegerField()
        qualified_on = DateField()
        lost_on = DateField(null=True)
        workplace = CharField(default='')
        delivery = CharField(max_length=5)
        issued_on = DateField(null=True)
        expires_on = DateField(null=True)
        copay = SmallIntegerField(null=True)
        effective_on = DateField(null=True)
        remarks = TextField(default='')
        withheld = BooleanField(default=False)
        shows_children = BooleanField(default=False)
        class Meta:
            database = db
            table_name = 'member'
            indexes = ((('household', 'branch'), False),)
    db.create_tables([Member])

    class Account(Model):
        member = ForeignKeyField(Member, primary_key=True, on_delete='CASCADE')
        login_id = CharField(unique=True)
        temporary_hash = CharField(null=True)
        password_hash = CharField(null=True)
        email = CharField(null=True)
        email_key = CharField(unique=True, null=True)
        registered_at = BigIntegerField(null=True)
        class Meta:
            database = db
            table_name = 'account'
    db.create_tables([Account])

    class Audit(Model):
        at = BigIntegerField(index=True)
        action = CharField()
        actor = IntegerField(null=True)
        member = IntegerField(null=True)
        detail = CharField(default='')
        class Meta:
            database = db
            table_name = 'audit'
    db.create_tables([Audit])

    class Challenge(Model):
        id = CharField(primary_key=True, max_length=32)
        account = ForeignKeyField(Account, on_delete='CASCADE')
        purpose = CharField(max_length=8)
        email = CharField(null=True)
        password_hash = CharField(null=True)
        decoy = BooleanField(default=False)
        tries = SmallIntegerField(default=0)
        created_at = BigIntegerField()
        used_at = BigIntegerField(null=True)
        class Meta:
            database = db
            table_name = 'challenge'
    db.create_tables([Challenge])

    class Counter(Model):
        id = CharField(primary_key=True, max_length=64)
        count = IntegerField()
        since = BigIntegerField()
        until = BigIntegerField(default=0)
        class Meta:
            database = db
            table_name = 'counter'
    db.create_tables([Counter])

    class Trust(Model):
        id = CharField(primary_key=True, max_length=64)
        account = ForeignKeyField(Account, on_delete='CASCADE')
        created_at = BigIntegerField()
        expires_at = BigIntegerField()
        device = CharField(default='')
        class Meta:
            database = db
            table_name = 'trust'
    db.create_tables([Trust])

    class Session(Model):
        id = CharField(primary_key=True, max_length=32)
        account = ForeignKeyField(Account, on_delete='CASCADE')
        trust = ForeignKeyField(Trust, null=True, on_delete='SET NULL')
        trusted = BooleanField(default=False)
        created_at = BigIntegerField()
        seen_at = BigIntegerField()
        ended_at = BigIntegerField(null=True)
        device = CharField(default='')
        class Meta:
            database = db
            table_name = 'session'
    db.create_tables([Session])

    class Display(Model):
        id = CharField(primary_key=True, max_length=32)
        session = ForeignKeyField(Session, on_delete='CASCADE')
        viewer = ForeignKeyField(Member, on_delete='CASCADE')
        member = ForeignKeyField(Member, on_delete='CASCADE')
        started_at = BigIntegerField()
        class Meta:
            database = db
            table_name = 'display'
    db.create_tables([Display])

    class Mail(Model):
        kind = CharField(max_length=16)
        account = ForeignKeyField(Account, null=True, on_delete='CASCADE')
        challenge = ForeignKeyField(Challenge, null=True, on_delete='CASCADE')
        address = CharField(default='')
        state = CharField(max_length=8, default='waiting')
        attempts = SmallIntegerField(default=0)
        created_at = BigIntegerField()
        due_at = BigIntegerField()
        class Meta:
            database = db
            table_name = 'mail'
            indexes = ((('state', 'due_at'), False),)
    db.create_tables([Mail])

    class RosterImport(Model):
        at = BigIntegerField()
        added = IntegerField()
        changed = IntegerField()
        ended = IntegerField()
        unchanged = IntegerField()
        class Meta:
            database = db
            table_name = 'roster_import'
    db.create_tables([RosterImport])


def down(migrator, db):
    migrator.migrate(migrator.drop_table('roster_import'))
    migrator.migrate(migrator.drop_table('mail'))
    migrator.migrate(migrator.drop_table('display'))
    migrator.migrate(migrator.drop_table('session'))
    migrator.migrate(migrator.drop_table('trust'))
    migrator.migrate(migrator.drop_table('counter'))
    migrator.migrate(migrator.drop_table('challenge'))
    migrator.migrate(migrator.drop_table('audit'))
    migrator.migrate(migrator.drop_table('account'))
    migrator.migrate(migrator.drop_table('member'))
