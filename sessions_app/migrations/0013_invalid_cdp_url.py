# Replaces the generated column "problems": Django cannot change the expression of one. The indexes that contain
# the column are removed first. ids.py keeps the sequence of ids, which a rebuild of the table resets on SQLite.

import django.db.models.expressions
import django.db.models.functions.text
import django.db.models.lookups
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('sessions_app', '0012_help_texts'),
    ]

    operations = [
        migrations.RemoveIndex(model_name='browsersession', name='session_idle'),
        migrations.RemoveIndex(model_name='browsersession', name='session_invalid'),
        migrations.RemoveIndex(model_name='browsersession', name='session_namespace_idle'),
        migrations.RemoveIndex(model_name='browsersession', name='session_browser_idle'),
        migrations.RemoveIndex(model_name='browsersession', name='session_pinned'),
        migrations.RemoveField(model_name='archivedsession', name='problems'),
        migrations.AddField(
            model_name='archivedsession',
            name='problems',
            field=models.GeneratedField(db_persist=True, expression=django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.Case(models.When(models.Q(('is_corrupted', False), django.db.models.lookups.Exact(django.db.models.functions.text.Trim('session_id'), models.Value(''))), then=models.Value(1)), default=models.Value(0), output_field=models.IntegerField()), '+', models.Case(models.When(models.Q(('is_corrupted', False), django.db.models.lookups.Exact(django.db.models.functions.text.Trim('cdp_url'), models.Value(''))), then=models.Value(2)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), ('created_at', None)), then=models.Value(4)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), ('last_accessed', None)), then=models.Value(8)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), models.Q(('browser_type', 'chromium'), ('browser_type', 'firefox'), ('browser_type', 'webkit'), _connector='OR', _negated=True)), then=models.Value(16)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', True)), then=models.Value(32)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), django.db.models.lookups.GreaterThan(django.db.models.functions.text.Length('cdp_url'), models.Value(2000))), then=models.Value(64)), default=models.Value(0), output_field=models.IntegerField())), help_text='The broken rules, as a sum of their bits (sessions_app.problems.Problem).', output_field=models.IntegerField()),
        ),
        migrations.RemoveField(model_name='browsersession', name='problems'),
        migrations.AddField(
            model_name='browsersession',
            name='problems',
            field=models.GeneratedField(db_persist=True, expression=django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.Case(models.When(models.Q(('is_corrupted', False), django.db.models.lookups.Exact(django.db.models.functions.text.Trim('session_id'), models.Value(''))), then=models.Value(1)), default=models.Value(0), output_field=models.IntegerField()), '+', models.Case(models.When(models.Q(('is_corrupted', False), django.db.models.lookups.Exact(django.db.models.functions.text.Trim('cdp_url'), models.Value(''))), then=models.Value(2)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), ('created_at', None)), then=models.Value(4)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), ('last_accessed', None)), then=models.Value(8)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), models.Q(('browser_type', 'chromium'), ('browser_type', 'firefox'), ('browser_type', 'webkit'), _connector='OR', _negated=True)), then=models.Value(16)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', True)), then=models.Value(32)), default=models.Value(0), output_field=models.IntegerField())), '+', models.Case(models.When(models.Q(('is_corrupted', False), django.db.models.lookups.GreaterThan(django.db.models.functions.text.Length('cdp_url'), models.Value(2000))), then=models.Value(64)), default=models.Value(0), output_field=models.IntegerField())), help_text='The broken rules, as a sum of their bits (sessions_app.problems.Problem).', output_field=models.IntegerField()),
        ),
        migrations.AddIndex(
            model_name='browsersession',
            index=models.Index(fields=['idle_since', 'id', 'problems', 'is_pinned', 'size_bytes'], name='session_idle'),
        ),
        migrations.AddIndex(
            model_name='browsersession',
            index=models.Index(condition=models.Q(('problems__gt', 0)), fields=['idle_since', 'id', 'problems', 'is_pinned', 'namespace', 'browser_type', 'size_bytes'], name='session_invalid'),
        ),
        migrations.AddIndex(
            model_name='browsersession',
            index=models.Index(fields=['namespace', 'idle_since', 'id', 'problems', 'is_pinned', 'browser_type', 'size_bytes'], name='session_namespace_idle'),
        ),
        migrations.AddIndex(
            model_name='browsersession',
            index=models.Index(fields=['browser_type', 'idle_since', 'id', 'problems', 'is_pinned', 'size_bytes'], name='session_browser_idle'),
        ),
        migrations.AddIndex(
            model_name='browsersession',
            index=models.Index(condition=models.Q(('is_pinned', True)), fields=['idle_since', 'id', 'problems', 'namespace', 'browser_type', 'size_bytes'], name='session_pinned'),
        ),
    ]
