
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.text
import django.db.models.lookups
import sessions_app.models.fields
import sessions_app.session.lookups
from django.db import migrations, models

from sessions_app.migrations.one_row.operation import CopyIntoOneTable


class Migration(migrations.Migration):
    # Each step of the copy commits by itself, so that an interrupted migration is resumed.
    atomic = False

    dependencies = [
        ('sessions_app', '0024_event_runs'),
    ]

    operations = [
        CopyIntoOneTable(
            state_operations=[
            migrations.CreateModel(
                name='SessionDocument',
                fields=[
                    ('session', sessions_app.models.fields.RowKeyField(db_constraint=False, on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='content', serialize=False, to='sessions_app.browsersession')),
                    ('cdp_url', models.TextField(blank=True, default='', help_text='The CDP address. Anyone who has it controls the browser.', verbose_name='endpoint')),
                    ('document', models.BinaryField(default=b'', help_text="The document's exact bytes.")),
                    ('last_good_document', models.BinaryField(help_text='The last document without a problem, kept beside a broken one.', null=True)),
                ],
            ),
            migrations.RemoveField(
                model_name='archivedsession',
                name='directory',
            ),
            migrations.RemoveField(
                model_name='archivedsession',
                name='run',
            ),
            migrations.RemoveConstraint(
                model_name='browsersession',
                name='session_unique_name',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_size',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_directory',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_owed',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_owed_by_run',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_idle',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_invalid',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_namespace_idle',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_browser_idle',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_pinned',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_in_use',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_browser_state',
            ),
            migrations.RemoveIndex(
                model_name='browsersession',
                name='session_name',
            ),
            migrations.RemoveField(
                model_name='browsersession',
                name='browser_endpoint',
            ),
            migrations.RemoveField(
                model_name='browsersession',
                name='cdp_url',
            ),
            migrations.RemoveField(
                model_name='browsersession',
                name='document',
            ),
            migrations.RemoveField(
                model_name='browsersession',
                name='last_good_document',
            ),
            migrations.RemoveField(
                model_name='browsersession',
                name='past_runs',
            ),
            migrations.RemoveField(
                model_name='browsersession',
                name='restored_at',
            ),
            migrations.AddField(
                model_name='browsersession',
                name='endpoint_length',
                field=models.IntegerField(db_default=0, default=0, editable=False, help_text='Characters of the endpoint; 0 if it is blank.'),
            ),
            migrations.AddField(
                model_name='browsersession',
                name='has_vanished',
                field=models.BooleanField(db_default=False, default=False, editable=False, help_text='Its file was gone before the removal.'),
            ),
            migrations.AddField(
                model_name='browsersession',
                name='reasons',
                field=models.IntegerField(editable=False, help_text='Why it was removed, as a sum of bits (session.criteria).', null=True),
            ),
            migrations.AddField(
                model_name='browsersession',
                name='removed_at',
                field=models.DateTimeField(editable=False, null=True, verbose_name='removed'),
            ),
            migrations.AddField(
                model_name='browsersession',
                name='restored_from',
                field=models.BigIntegerField(editable=False, help_text='Number of the run from which it was last restored.', null=True),
            ),
            migrations.AddField(
                model_name='browsersession',
                name='run',
                field=models.ForeignKey(db_index=False, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='sessions_app.cleanuprun'),
            ),
            migrations.AddField(
                model_name='browsersession',
                name='shown_endpoint',
                field=models.CharField(blank=True, db_default='', default='', editable=False, help_text='Scheme, host and port of the endpoint, which may be shown.', max_length=255),
            ),
            migrations.AlterField(
                model_name='browsersession',
                name='problems',
                field=models.GeneratedField(db_persist=True, expression=django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.Case(models.When(models.Q(('is_corrupted', False), django.db.models.lookups.Exact(django.db.models.functions.text.Trim('session_id'), models.Value(''))), then=models.Value(1)), default=models.Value(0), output_field=models.IntegerField()), '+', models.Case(models.When(models.Q(('is_corrupted', False), ('endpoint_length', 0)), then=models.Value(2)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), ('created_at', None)), then=models.Value(4)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), ('last_accessed', None)), then=models.Value(8)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), models.Q(('browser_type', 'chromium'), ('browser_type', 'firefox'), ('browser_type', 'webkit'), _connector='OR', _negated=True)), then=models.Value(16)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', True)), then=models.Value(32)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), ('endpoint_length__gt', 2000)), then=models.Value(64)), default=models.Value(0), output_field=models.IntegerField())), help_text='The broken rules, as a sum of their bits (sessions_app.problems.Problem).', output_field=models.IntegerField()),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('run__isnull', True)), fields=['idle_since', 'id', 'problems', 'is_pinned', 'size_bytes', 'run'], name='session_idle'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('problems__gt', 0), ('run__isnull', True)), fields=['idle_since', 'id', 'problems', 'is_pinned', 'namespace', 'browser_type', 'size_bytes', 'run'], name='session_invalid'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('run__isnull', True)), fields=['namespace', 'idle_since', 'id', 'problems', 'is_pinned', 'browser_type', 'size_bytes', 'run'], name='session_namespace_idle'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('run__isnull', True)), fields=['browser_type', 'idle_since', 'id', 'problems', 'is_pinned', 'size_bytes', 'run'], name='session_browser_idle'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('run__isnull', True)), fields=['size_bytes', 'id', 'run'], name='session_size'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(sessions_app.session.lookups.ByteOrder('name'), models.F('id'), models.F('run'), condition=models.Q(('run__isnull', True)), name='session_name'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('directory__isnull', False), ('run__isnull', True)), fields=['directory'], name='session_directory'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('directory__isnull', False), ('file_changed_ns__isnull', True), ('run__isnull', True)), fields=['directory', 'id', 'run'], name='session_owed'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('directory__isnull', False), ('file_changed_ns__isnull', True), ('run__isnull', True)), fields=['restored_from', 'directory', 'run'], name='session_owed_by_run'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('in_use_at__isnull', False), ('run__isnull', True)), fields=['in_use_at', 'run'], name='session_in_use'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('browser_state__isnull', False), ('run__isnull', True)), fields=['browser_state', 'idle_since', 'id', 'problems', 'is_pinned', 'size_bytes', 'run'], name='session_browser_state'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('is_pinned', True), ('run__isnull', True)), fields=['idle_since', 'id', 'problems', 'namespace', 'browser_type', 'size_bytes', 'run'], name='session_pinned'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('run__isnull', False)), fields=['run', 'id'], name='archived_run'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('run__isnull', False)), fields=['removed_at', 'id', 'run'], name='archived_removed'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(sessions_app.session.lookups.ByteOrder('name'), models.F('id'), models.F('run'), condition=models.Q(('run__isnull', False)), name='archived_name'),
            ),
            migrations.AddIndex(
                model_name='browsersession',
                index=models.Index(condition=models.Q(('run__isnull', False), ('directory__isnull', False)), fields=['directory', 'file_name'], name='archived_file'),
            ),
            migrations.AddConstraint(
                model_name='browsersession',
                constraint=models.UniqueConstraint(condition=models.Q(('run__isnull', True)), fields=('namespace', 'name'), name='session_unique_name'),
            ),
            migrations.AddConstraint(
                model_name='browsersession',
                constraint=models.CheckConstraint(condition=models.Q(models.Q(('reasons__isnull', True), ('removed_at__isnull', True), ('run__isnull', True)), models.Q(('reasons__isnull', False), ('removed_at__isnull', False), ('run__isnull', False)), _connector='OR'), name='session_live_or_removed'),
            ),
            migrations.DeleteModel(
                name='ArchivedSession',
            ),
            migrations.CreateModel(
                name='ArchivedSession',
                fields=[
                ],
                options={
                    'ordering': ('-removed_at', '-id'),
                    'proxy': True,
                    'indexes': [],
                    'constraints': [],
                },
                bases=('sessions_app.browsersession',),
            ),
    
            ],
        ),
    ]
