from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("sessions_app", "0021_alerts"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="cleanuprun", name="run_totals"),
        migrations.AddField(
            model_name="cleanuprun",
            name="totaled_at",
            field=models.DateTimeField(
                editable=False,
                help_text="When its numbers were added to the totals of finished runs.",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="cleanuprun",
            index=models.Index(
                condition=models.Q(("totaled_at", None)),
                fields=["state", "removed_count", "removed_bytes", "restored_count", "restored_bytes"],
                name="run_totals",
            ),
        ),
    ]
