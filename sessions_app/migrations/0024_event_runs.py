from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0023_session_search")]

    operations = [
        migrations.AddField(
            model_name='sessionevent',
            name='run_key',
            field=models.BigIntegerField(help_text='Number of the run from which it was restored.', null=True),
        ),
        migrations.AddField(
            model_name='sessionevent',
            name='removed_at',
            field=models.DateTimeField(help_text='When that run had removed the session; null if the time is unknown.', null=True),
        ),
        migrations.AlterField(
            model_name='sessionevent',
            name='code',
            field=models.CharField(choices=[('closed', 'Browser closed'), ('gone', 'Browser found gone'), ('not_closed', 'Browser could not be closed'), ('opened', 'Browser opened'), ('restored', 'Restored'), ('looked_inside', 'Pages of its browser shown')], max_length=20),
        ),
    ]
