"""The distribution: what Beam ships to its workers (--setup_file) and what run_pipeline.sh installs.

Ranges say what the code needs; constraints.txt says what is installed and tested. Weights are fetched, never packed.

What is always installed is what a run on a CPU uses. torch, which brings CUDA and takes more than four times the disk
of all that, is the extra `torch`. run_pipeline.sh installs it where there is a GPU. Beam installs a --setup_file with
no extras on its workers; one with a GPU needs torch in its image: `pip install -c constraints.txt ".[torch]"` there.
"""

from setuptools import find_packages, setup

OPENVINO_IS_BUILT_FOR = "'x86_64 AMD64 aarch64 arm64'"

# For a GPU, for checkpoints in torch's own format, and for the reference engine. A pair: torchvision is compiled
# against one torch, and one variant (CUDA or CPU) of it. Nothing here imports torchvision: it is there for users who
# decode or transform photos with it beside us, so that what they get fits this torch. It takes 16 MB of 5 GB.
TORCH = ["torch==2.13.*", "torchvision==0.28.*"]

setup(
    name="whitesweep",
    version="0.1.0",
    description="Put a whole product catalog on white: U²-Net on Apache Beam.",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    py_modules=["whitesweep"],  # what others may use
    package_dir={"": "."},  # spelled out, so that an editable install is one plain line with the path of this folder
    packages=find_packages(
        include=["pipeline", "pipeline.*", "sample", "transforms", "transforms.*", "model", "model.*", "weights"]
    ),
    entry_points={"console_scripts": ["whitesweep-worker = pipeline.worker:main"]},  # one file, as Flink wants it
    include_package_data=False,
    package_data={
        "model": ["*_int8.json"],
        "pipeline.review": ["index.html", "sheet.*"],
        "transforms.pixels": ["profiles.toml"],
    },
    # 3.10 has no wheels of the pinned NumPy and SciPy; 3.13 has all, but nobody has run the tests there.
    python_requires=">=3.11,<3.13",
    install_requires=[
        "apache-beam==2.77.*",
        "google-cloud-storage>=3.4,<4",
        "numpy>=2.1,<2.5",
        "onnx>=1.18,<2",  # reads the published weights, once
        f"openvino>=2026.2,<2027; platform_machine in {OPENVINO_IS_BUILT_FOR}",  # the engine of a CPU
        *(f"{one}; platform_machine not in {OPENVINO_IS_BUILT_FOR}" for one in TORCH),  # and of the other CPUs
        "opencv-python-headless>=4.12,<6",
        "pillow>=12.1.1,<13",
        "pyarrow>=18,<26",
        "requests>=2.32,<3",
        "safetensors>=0.5,<1",
        "scipy>=1.15,<2",  # renders the sample catalog
        "urllib3>=2.6,<3",
    ],
    extras_require={
        "gcp": ["apache-beam[gcp]==2.77.*"],
        "heif": ["pillow-heif>=1.1,<2"],  # HEIC of phones; run_pipeline.sh installs it
        "torch": TORCH,
        "test": [
            *TORCH,  # every engine is compared with it
            "duckdb",  # reads reports, as pandas and polars do
            "gcp-storage-emulator",
            "google-cloud-pubsub",
            "hypothesis",
            "import-linter",
            "mypy",
            "onnxruntime",
            "pandas",
            "polars",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "pyvips-binary",  # libvips, a second opinion on colours
            "pyvips",
            "ruff",
            "scikit-image",
        ],
    },
)
