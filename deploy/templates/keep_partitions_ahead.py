"""Makes the partitions of this month and of those to come, as the application's role.

python keep_partitions_ahead.py ENV_FILE MONTHS
"""

import sys
from pathlib import Path

from callytics.postgres import connect
from callytics.settings import Settings

with connect(Settings.load(env_file=Path(sys.argv[1]))) as connection, connection.cursor() as cursor:
    cursor.execute("select keep_partitions_ahead(%s)", (int(sys.argv[2]),))
    sys.stdout.write(f"{cursor.fetchone()[0]} partitions made\n")
