from django.db import migrations, models


class Migration(migrations.Migration):
    """Move what the search finds to a table of its own, which the worker fills."""

    dependencies = [
        ("sessions_app", "0022_run_totals"),
    ]

    operations = [
        migrations.CreateModel(
            name="SessionSearch",
            fields=[
                ("session_key", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "text",
                    models.TextField(help_text="Name, session id, host and metadata values, in lower case."),
                ),
                ("labels", models.TextField(help_text="Short metadata values with their keys.")),
            ],
        ),
        migrations.RemoveField(model_name="browsersession", name="metadata_text"),
        migrations.RemoveField(model_name="browsersession", name="metadata_labels"),
        migrations.RemoveField(model_name="archivedsession", name="metadata_text"),
        migrations.RemoveField(model_name="archivedsession", name="metadata_labels"),
    ]
