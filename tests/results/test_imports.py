import subprocess
import sys


def test_store_and_table_start_without_torch_or_pandas():
    code = (
        "import sys, tunescope.results.store, tunescope.results.table\n"
        "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
