"""Reads recordings that camrig reads completely with the official reader: PyPI's mcap.

    conformance.py FOLDER

The folder has a file for each combination of MCAP's optional parts, which the test
`every_optional_part_may_be_missing` wrote and read, and the messages that each has to have.
"""

import sys
import zlib
from pathlib import Path

from mcap.reader import NonSeekingReader, make_reader


def lines(messages):
    return sorted(
        f"{channel.topic} {message.sequence} {message.log_time} {message.publish_time} {zlib.crc32(message.data)}"
        for _, channel, message in messages
    )


def main(folder):
    expected = sorted((folder / "messages.txt").read_text().splitlines())
    files = sorted(folder.glob("*.mcap"))
    assert len(files) == 640 and len(expected) > 100, (len(files), len(expected))
    by_index = 0
    for path in files:
        with open(path, "rb") as file:
            # In the order of the file, every checksum checked.
            found = lines(NonSeekingReader(file, validate_crcs=True).iter_messages(log_time_order=False))
            assert found == expected, path
            # By the index, where there is one that has all that this reader takes from it.
            file.seek(0)
            reader = make_reader(file, validate_crcs=True)
            summary = reader.get_summary()
            if summary is not None and summary.chunk_indexes and summary.channels and summary.schemas:
                by_index += 1
                assert lines(reader.iter_messages()) == expected, path
    assert by_index > 0
    print(f"{len(files)} files of every optional part of MCAP: the official reader reads what camrig does, {by_index} by index")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
