"""Two processes write to one database in WAL mode, whose index is a shared mapping."""
import multiprocessing
import os
import sqlite3

PATH = "/root/data.sqlite"
ROWS = 60


def insert(who):
    connection = sqlite3.connect(PATH, timeout=30, isolation_level=None)
    for i in range(ROWS):
        connection.execute("INSERT INTO rows VALUES (?, ?)", (who, i))


def main():
    connection = sqlite3.connect(PATH)
    print(connection.execute("PRAGMA journal_mode = WAL").fetchone())
    connection.execute("CREATE TABLE rows (who INTEGER, i INTEGER)")
    connection.commit()
    workers = [multiprocessing.Process(target=insert, args=(who,)) for who in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print([worker.exitcode for worker in workers])
    print(os.path.getsize(PATH + "-wal") > 0)
    print(connection.execute("SELECT who, COUNT(*) FROM rows GROUP BY who").fetchall())
    print(connection.execute("PRAGMA integrity_check").fetchone())


if __name__ == "__main__":
    main()
