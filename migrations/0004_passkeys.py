from peewee import *


def up(migrator, db):
    class Member(Model):
        class Meta:
            database = db
            table_name = 'member'

    class Account(Model):
        member = ForeignKeyField(Member, primary_key=True, on_delete='CASCADE')
        class Meta:
            database = db
            table_name = 'account'

    class Passkey(Model):
        id = CharField(primary_key=True, max_length=32)
        account = ForeignKeyField(Account, on_delete='CASCADE')
        credential = CharField(unique=True, max_length=1400)
        public_key = TextField()
        uses = BigIntegerField()
        device = CharField(default='')
        created_at = BigIntegerField()
        used_at = BigIntegerField(null=True)
        class Meta:
            database = db
            table_name = 'passkey'
    db.create_tables([Passkey])
    db.execute_sql('ALTER TABLE session ADD COLUMN passkey VARCHAR(32)')


def down(migrator, db):
    db.execute_sql('ALTER TABLE session DROP COLUMN passkey')
    migrator.migrate(migrator.drop_table('passkey'))
