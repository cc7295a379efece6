import sessions_app.session.lookups
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("sessions_app", "0019_metadata_labels"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="browsersession", name="session_name"),
        migrations.AddIndex(
            model_name="archivedsession",
            index=models.Index(
                sessions_app.session.lookups.ByteOrder("name"), models.F("id"), name="archived_name"
            ),
        ),
        migrations.AddIndex(
            model_name="browsersession",
            index=models.Index(
                sessions_app.session.lookups.ByteOrder("name"), models.F("id"), name="session_name"
            ),
        ),
    ]
