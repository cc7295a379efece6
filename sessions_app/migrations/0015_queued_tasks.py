import sessions_app.models.clock
from typing import Any

from django.db import migrations, models


def delete_old_schedules(apps: Any, schema_editor: Any) -> None:
    """Delete the schedules that the tick replaces, and the pickled results that nothing reads any more."""
    connection = schema_editor.connection
    # Programs that use sessions without the panel have no task queue.
    if "django_q_schedule" not in connection.introspection.table_names():
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM django_q_schedule WHERE func LIKE 'sessions_app.tasks.%%' AND func <> %s",
            ["sessions_app.tasks.tick"],
        )
        cursor.execute("DELETE FROM django_q_task WHERE func LIKE %s", ["sessions_app.tasks.%"])


class Migration(migrations.Migration):

    dependencies = [
        ('sessions_app', '0014_masked_columns'),
    ]

    operations = [
        migrations.CreateModel(
            name='Machine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=64, unique=True)),
                ('started_at', models.DateTimeField(db_default=sessions_app.models.clock.DatabaseClock(), verbose_name='started')),
                ('heartbeat_at', models.DateTimeField(verbose_name='last heard from')),
                ('clock_skew_seconds', models.FloatField(default=0, help_text="Its clock minus the database's, in seconds.")),
            ],
        ),
        migrations.CreateModel(
            name='QueuedTask',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('task', models.CharField(max_length=100)),
                ('arguments', models.JSONField(default=list)),
                ('machine', models.CharField(blank=True, default='', help_text='Blank: any machine.', max_length=64)),
                ('due_at', models.DateTimeField(help_text='For a job of the schedule: when it was due.', null=True, verbose_name='due')),
                ('queued_at', models.DateTimeField(db_default=sessions_app.models.clock.DatabaseClock(), verbose_name='queued')),
                ('sent_at', models.DateTimeField(null=True, verbose_name='sent to the queue')),
                ('started_at', models.DateTimeField(null=True, verbose_name='started')),
                ('heartbeat_at', models.DateTimeField(null=True, verbose_name='heartbeat')),
                ('finished_at', models.DateTimeField(null=True, verbose_name='finished')),
                ('attempt', models.PositiveSmallIntegerField(default=0)),
                ('is_requested_again', models.BooleanField(default=False, verbose_name='requested again')),
                ('has_failed', models.BooleanField(default=False, verbose_name='failed')),
                ('message', models.TextField(blank=True, default='', verbose_name='result')),
            ],
            options={
                'verbose_name': 'task',
                'indexes': [models.Index(fields=['task', 'has_failed', '-id'], name='queued_task_results'), models.Index(fields=['finished_at'], name='queued_task_finished'), models.Index(condition=models.Q(('finished_at', None)), fields=['queued_at'], name='queued_task_open')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('finished_at', None)), fields=('task', 'arguments', 'machine'), name='queued_task_unique_while_open'), models.UniqueConstraint(condition=models.Q(('due_at', None), _negated=True), fields=('task', 'due_at'), name='queued_task_unique_due_at')],
            },
        ),
        migrations.RunPython(delete_old_schedules, migrations.RunPython.noop),
    ]
