from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sessions_app", "0016_browsers"),
    ]

    operations = [
        migrations.AddField(
            model_name="limitednamespace",
            name="user_ids",
            field=models.JSONField(
                default=list,
                help_text="Primary keys of users who see the namespace without being in one of its groups.",
                verbose_name="users",
            ),
        ),
    ]
