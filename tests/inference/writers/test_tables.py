from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell.inference.measurements import round_floats
from mmcell.inference.writers import tables
from mmcell.structures import FoundObjects

CSV, PARQUET = 'tables/image.csv', 'tables/image.parquet'


def test_pandas_reads_both_with_the_areas_of_the_pixels(tmp_path, save, noisy):
    pytest.importorskip('pyarrow')
    labels = noisy(15, 10, side=5)
    pixels = np.random.default_rng(0).integers(0, 4096, (*labels.shape, 5), dtype=np.uint16)
    save(labels, ['csv', 'parquet'], tmp_path, pixels=pixels, mpp=0.25, batch=40)
    csv, parquet = pd.read_csv(tmp_path / CSV), pd.read_parquet(tmp_path / PARQUET)
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    for table in (csv, parquet):
        assert table['label'].tolist() == ids.tolist()
        assert table['area_px'].tolist() == areas.tolist()
        assert (table['image'] == 'image').all() and (table['class'] == 'cell').all()
        assert table['touches_border'].dtype == bool
        assert table['max_channel 5'].tolist() == [
            pixels[:, :, 4][labels == number].max() for number in ids
        ]
    assert list(csv) == list(parquet)
    np.testing.assert_allclose(csv.select_dtypes('number'), parquet.select_dtypes('number'), 1e-6)
    np.testing.assert_allclose(csv['area_um2'], areas / 16, rtol=1e-6)


def test_names_with_commas_quotes_and_umlauts_come_back(tmp_path, save):
    found = FoundObjects.from_label_map(np.array([[1, 0, 2]]))
    found = replace(found, classes=np.array([1, 0]))
    odd = 'epithelium, "atypical" ü;\n2'
    save(found, ['csv'], tmp_path, size=(1, 3), classes=['cell', odd], channels=['a,b'])
    table = pd.read_csv(tmp_path / CSV)
    assert table['class'].tolist() == [odd, 'cell'] and 'mean_a,b' in table


def test_no_objects_are_a_table_with_all_columns(tmp_path, save):
    pytest.importorskip('pyarrow')
    for name, labels in (('full', np.ones((2, 2), int)), ('none', np.zeros((2, 2), int))):
        save(labels, ['csv', 'parquet'], tmp_path / name)
    full, none = (pd.read_csv(tmp_path / name / CSV) for name in ('full', 'none'))
    assert len(none) == 0 and list(none) == list(full)
    full, none = (pd.read_parquet(tmp_path / name / PARQUET) for name in ('full', 'none'))
    assert len(none) == 0 and none.dtypes.to_dict() == full.dtypes.to_dict()


def test_missing_numbers_are_empty_fields(tmp_path, save):
    save(np.ones((2, 2), int), ['csv'], tmp_path, pixels=np.full((2, 2, 1), np.nan, np.float32))
    text = (tmp_path / CSV).read_text().splitlines()[1]
    assert text.endswith(',,,,')


def test_parquet_gathers_rows_of_many_batches(tmp_path, save, squares, monkeypatch):
    parquet = pytest.importorskip('pyarrow.parquet')
    monkeypatch.setattr(tables, '_ROW_GROUP', 40)
    save(squares((30, 30), 2, 1), ['parquet'], tmp_path, batch=25)
    groups = parquet.ParquetFile(tmp_path / PARQUET).metadata
    assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [50, 50]


def test_rounding_gives_the_shortest_decimal_of_seven_digits():
    values = [0, 0.1, 1 / 3, -2 / 3e5, 12345.678949, 123456789.0, 1e-12 / 3, np.nan, np.inf]
    table = pd.DataFrame({'a': values, 'b': np.float32(0.9), 'n': 123456789})
    rounded = round_floats(table)
    assert rounded['a'].map(repr).tolist() == [repr(float(f'{v:.7g}')) for v in values]
    assert set(rounded['b']) == {0.9} and set(rounded['n']) == {123456789}
