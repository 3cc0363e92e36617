"""The table of measurements as CSV or Parquet."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mmcell.inference.writers.base import Batch, FileWriter, ImageContext

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 50_000  # rows that Parquet keeps together; fewer make large files of many small parts


class CsvWriter(FileWriter):
    """A row per object, UTF-8, numbers to 7 digits, empty where there is none (NaN)."""

    def __init__(self, path: Path, context: ImageContext) -> None:
        super().__init__(path, context)
        header = context.no_objects().table.to_csv(index=False, lineterminator='\n')
        self._file = self.part.open('w', encoding='utf-8', newline='')
        self._file.write(header)

    def add(self, batch: Batch) -> None:
        """Write the rows."""
        batch.text_table.to_csv(self._file, index=False, header=False, lineterminator='\n')

    def finish(self) -> None:
        """Close the file."""
        self._file.close()

    def discard(self) -> None:
        """Close and remove the file."""
        with suppress(OSError):
            self._file.close()
        super().discard()


class ParquetWriter(FileWriter):
    """The same rows in full precision, typed and compressed."""

    def __init__(self, path: Path, context: ImageContext) -> None:
        super().__init__(path, context)
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._pa = pa
        nothing = context.no_objects().table
        self._schema = pa.Schema.from_pandas(nothing, preserve_index=False)
        self._waiting: list[pa.Table] = []
        self._file = self.part.open('wb')
        self._writer = pq.ParquetWriter(self._file, self._schema, compression='zstd')

    def add(self, batch: Batch) -> None:
        """Write the rows, once there are enough of them."""
        self._waiting.append(
            self._pa.Table.from_pandas(batch.table, self._schema, preserve_index=False)
        )
        if sum(map(len, self._waiting)) >= _ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        """Write the other rows and close the file."""
        self._flush()
        self._writer.close()
        self._file.close()

    def discard(self) -> None:
        """Close and remove the file."""
        with suppress(OSError):
            self._writer.close()
        with suppress(OSError):
            self._file.close()
        super().discard()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(self._pa.concat_tables(self._waiting))
        self._waiting = []
