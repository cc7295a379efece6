from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0023_session_search")]

    operations = [
        migrations.AddField(
            model_name='sessionevent',
            name='run_key',
            field=models.BigIntegerField(help_text='Number of the run that removed or restored it.', null=True),
        ),
        migrations.AlterField(
            model_name='sessionevent',
            name='code',
            field=models.CharField(choices=[('closed', 'Browser closed'), ('gone', 'Browser found gone'), ('not_closed', 'Browser could not be closed'), ('opened', 'Browser opened'), ('removed', 'Removed'), ('restored', 'Restored'), ('looked_inside', 'Pages of its browser shown')], max_length=20),
        ),
    ]
