import django.db.models.deletion
import sessions_app.models.clock
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('sessions_app', '0017_namespace_users'),
    ]

    operations = [
        migrations.AlterField(
            model_name='cleanuprun',
            name='state',
            field=models.CharField(choices=[('planned', 'Planned'), ('held', 'Needs approval'), ('running', 'Running'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('interrupted', 'Interrupted'), ('undoing', 'Being undone'), ('undone', 'Undone'), ('closed', 'Closed')], default='planned', max_length=20),
        ),
        migrations.CreateModel(
            name='NewestKept',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sealed', models.CharField(help_text="Identifies the stored sessions of a plan in its criteria.", max_length=32)),
                ('group', models.CharField(help_text='Namespace, browser type or metadata value.', max_length=255)),
                ('idle_since', models.DateTimeField()),
                ('session_key', models.BigIntegerField()),
                ('stored_at', models.DateTimeField(db_default=sessions_app.models.clock.DatabaseClock())),
            ],
        ),
        migrations.CreateModel(
            name='PolicyProtection',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(blank=True, default='', help_text='The pattern applies to the values of this key. Leave blank to match session names.', max_length=40, verbose_name='metadata key')),
                ('pattern', models.CharField(help_text='Names or values to protect; case-sensitive. * matches any characters, ? matches one.', max_length=100)),
            ],
            options={
                'ordering': ('pk',),
            },
        ),
        migrations.AddField(
            model_name='cleanuprun',
            name='skipped_reasons',
            field=models.JSONField(default=dict, help_text='Number of sessions that were kept, by the code of the reason.'),
        ),
        migrations.AddField(
            model_name='cleanupstep',
            name='keep_count',
            field=models.PositiveIntegerField(blank=True, help_text='Number of sessions to keep in each group. The most recently accessed sessions are kept.', null=True, verbose_name='keep newest'),
        ),
        migrations.AddField(
            model_name='cleanupstep',
            name='keep_key',
            field=models.CharField(blank=True, default='', help_text='The metadata key for groups by metadata, such as user.', max_length=40, verbose_name='metadata key'),
        ),
        migrations.AddField(
            model_name='cleanupstep',
            name='keep_per',
            field=models.CharField(blank=True, choices=[('namespace', 'Namespace'), ('browser_type', 'Browser type'), ('metadata', 'Metadata key')], default='', help_text='How sessions are grouped.', max_length=20, verbose_name='of each'),
        ),
        migrations.AlterField(
            model_name='cleanupstep',
            name='criterion',
            field=models.CharField(choices=[('expired', 'Expired sessions'), ('invalid', 'Invalid sessions'), ('newest', 'All but the newest of each group'), ('all', 'All sessions, pinned ones included'), ('gone', 'Sessions whose browser is gone'), ('expired_not_alive', 'Expired sessions, unless their browser is alive')], help_text='“Expired sessions” also removes sessions whose browsers are alive.', max_length=20, verbose_name='removes'),
        ),
        migrations.AddConstraint(
            model_name='cleanupstep',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('criterion', 'newest'), ('keep_count__gte', 1), ('keep_count__isnull', False), models.Q(('keep_per', ''), _negated=True)), models.Q(models.Q(('criterion', 'newest'), _negated=True), ('keep_count', None), ('keep_key', ''), ('keep_per', '')), _connector='OR'), name='step_keeps_newest', violation_error_message='Enter the number of sessions to keep in each group, at least 1. Leave this blank for all other criteria.'),
        ),
        migrations.AddConstraint(
            model_name='cleanupstep',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('keep_per', 'metadata'), models.Q(('keep_key', ''), _negated=True)), models.Q(models.Q(('keep_per', 'metadata'), _negated=True), ('keep_key', '')), _connector='OR'), name='step_keeps_by_key', violation_error_message='Enter a metadata key for groups by metadata; otherwise leave it blank.'),
        ),
        migrations.AddConstraint(
            model_name='newestkept',
            constraint=models.UniqueConstraint(fields=('sealed', 'group'), name='newest_kept_once'),
        ),
        migrations.AddField(
            model_name='policyprotection',
            name='policy',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='protections', to='sessions_app.cleanuppolicy'),
        ),
        migrations.AddConstraint(
            model_name='policyprotection',
            constraint=models.CheckConstraint(condition=models.Q(('pattern', ''), _negated=True), name='protection_has_pattern'),
        ),
        migrations.AddConstraint(
            model_name='policyprotection',
            constraint=models.UniqueConstraint(fields=('policy', 'key', 'pattern'), name='protection_once', violation_error_message='The policy already has this rule.'),
        ),
        migrations.AddField(
            model_name='sessiondirectory',
            name='removal',
            field=models.ForeignKey(editable=False, help_text='The plan or run that removes the directory with its sessions. An undo restores it.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='sessions_app.cleanuprun'),
        ),
        migrations.AlterField(
            model_name='sessiondirectory',
            name='is_enabled',
            field=models.BooleanField(default=True, help_text='Mirror the directory each minute. The sessions of a disabled directory stay in the list, and policies still remove them and their files, but no new documents are read.', verbose_name='enabled'),
        ),
    ]
