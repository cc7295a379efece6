"""Adds the metadata labels of sessions, which a later migration moves to the search index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0018_policies_and_directories")]

    operations = [
        migrations.AddField(
            model_name='archivedsession',
            name='metadata_labels',
            field=models.TextField(editable=False, help_text='Short metadata values with their keys, for columns and filters of the list.', null=True),
        ),
        migrations.AddField(
            model_name='browsersession',
            name='metadata_labels',
            field=models.TextField(editable=False, help_text='Short metadata values with their keys, for columns and filters of the list.', null=True),
        ),
    ]
