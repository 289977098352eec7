"""The flight recorder: files of the real program, read by the readers that others use."""

import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cpp_program import CONTROLLER, ROOT
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from serl_rt.controller.client import ControllerClient
from serl_rt.controller.control import onnxruntime_library
from serl_rt.export.inspect import main as inspect
from serl_rt.export.publish import write_policy_file
from serl_rt.export.recording import RecordingError, load_recording, tick_dtype
from serl_rt.export.task import load_task
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.recipe import load_recipe
from serl_rt.sim.processes import free_port

PROGRAM = [CONTROLLER, "--onnxruntime", str(onnxruntime_library())]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    contract = load_task("reach").contract
    agent = build_agent(load_recipe("sac_state"), contract, seed=0)
    path = tmp_path_factory.mktemp("policy") / "policy.onnx"
    write_policy_file(make_exporter(agent, contract, "test").export(3, 0), path)
    return path


@contextmanager
def controller(
    folder: Path,
    policy: Path,
    *options: str,
    task: str = "reach",
    prepare: Callable[[], None] | None = None,
) -> Iterator[tuple[subprocess.Popen[bytes], ControllerClient]]:
    address = f"tcp://127.0.0.1:{free_port()}"
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [
                *PROGRAM, "--task", task, "--policy", policy, "--commands", address,
                "--state", "none", "--policies", folder / "store",
                "--record-folder", folder / "recordings", "--record-seconds", "30", *options,
            ],
            stdout=output, stderr=subprocess.STDOUT, preexec_fn=prepare,
        )  # fmt: skip
    try:
        with ControllerClient(address, timeout=20.0) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def recordings(folder: Path, cause: str = "*") -> list[Path]:
    return sorted((folder / "recordings").glob(f"*-{cause}.mcap"))


def ticks_of(client: ControllerClient) -> int:
    status = client.command("status")
    assert isinstance(status, dict)
    ticks = status["ticks"]
    assert isinstance(ticks, int)
    return ticks


@pytest.fixture(scope="module")
def fault_file(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of an arm that a policy moved faster than its task allows."""
    folder = tmp_path_factory.mktemp("fault")
    task = folder / "slow.toml"
    text = (ROOT / "controller/tasks/reach.toml").read_text()
    assert "[limits]" not in text
    task.write_text(text + "\n[limits]\njoint_velocity_fraction = 0.1\n")
    with controller(folder, policy, "--record-after", "0.5", task=str(task)) as (process, client):
        wait_for(lambda: bool(recordings(folder, "joint_velocity_limit")))

        def done() -> bool:
            status = client.command("status")
            assert isinstance(status, dict)
            recorder = status["recorder"]
            assert isinstance(recorder, dict)
            return recorder["last_cause"] == "joint_velocity_limit"

        wait_for(done)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert b"recorded (joint_velocity_limit)" in (folder / "output.txt").read_bytes()
    return recordings(folder, "joint_velocity_limit")[0]


def test_a_fault_is_on_disk_with_what_went_before(fault_file: Path) -> None:
    recording = load_recording(fault_file)
    assert recording.complete
    assert recording.about["cause"] == "joint_velocity_limit"
    assert "joint_velocity_fraction" in recording.about["task_file"]
    bit = next(b for b, name in recording.fault_bits.items() if name == "joint_velocity_limit")
    ticks = recording.ticks
    first = int(np.argmax(ticks["faults"] & bit != 0))
    assert first >= 2000  # the seconds before: the arm had gone to its start
    assert len(ticks) - first >= 500  # and half a second after
    assert np.abs(ticks["dq"][first]).max() > 0.1 * 2.62
    assert recording.modes[ticks["mode"][first]] == "hold"
    assert recording.modes[ticks["mode"][first - 1]] == "cartesian_impedance"
    assert ticks["policy_version"][first - 1] == 3
    assert set(np.diff(ticks["robot_time_ns"])) == {1_000_000}  # every tick
    assert np.all(np.abs(np.diff(ticks["tau"], axis=0)) <= 1.0 + 1e-9)
    fault = next(f for f in recording.faults if f.name == "joint_velocity_limit")
    assert abs(fault.value) > abs(fault.limit) > 0.0
    assert abs(fault.time_s - recording.time_s[first]) < 5.0


def test_standard_readers_open_the_file_through_its_index(fault_file: Path) -> None:
    recording = load_recording(fault_file)
    with fault_file.open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == len(recording.ticks) + len(recording.faults)
        assert len(summary.chunk_indexes) == summary.statistics.chunk_count > 1
        assert [m.name for m in reader.iter_metadata()] == ["recording"]
        # By time, out of the middle: only the chunks concerned are read.
        middle = summary.chunk_indexes[1].message_start_time
        decoded = list(
            reader.iter_decoded_messages(
                ["/tick"], starting_at=middle, ending_before=middle + 50_000_000
            )
        )
        assert 40 <= len(decoded) <= 60
        for _, _, message, tick in decoded:
            row = recording.ticks[message.sequence]
            for name in recording.ticks.dtype.names or ():
                assert np.array_equal(getattr(tick, name), row[name], equal_nan=True), name
        names = [m.decoded_message.name for m in reader.iter_decoded_messages(["/fault"])]
        assert "joint_velocity_limit" in names


def test_inspect_describes_and_draws_it(
    fault_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    assert inspect([str(fault_file), "--plot", str(picture)]) == 0
    text = capsys.readouterr().out
    for expected in ("joint_velocity_limit", "hold", "v3", "1000.", "torque max", "pose error"):
        assert expected in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_asking_writes_a_file_and_stopping_completes_it(policy: Path, tmp_path: Path) -> None:
    with controller(tmp_path, policy, "--record-after", "100") as (process, client):
        wait_for(lambda: ticks_of(client) > 1000)
        name = client.command("record", cause="strange noise")
        assert isinstance(name, str)
        assert name.endswith("strange_noise.mcap")
        assert client.command("record") == name  # the one that is being written
        client.command("stop")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert recordings(tmp_path) == [Path(name)]
    recording = load_recording(Path(name))
    assert recording.complete
    assert len(recording.ticks) > 1000


def test_a_killed_controller_leaves_what_it_had_written(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with controller(tmp_path, policy, "--record", "continuous") as (process, client):
        wait_for(lambda: ticks_of(client) > 3000)
        process.kill()
        process.wait()
    (file,) = recordings(tmp_path, "continuous")
    recording = load_recording(file)
    assert not recording.complete
    assert len(recording.ticks) >= 1000  # written each second
    assert set(np.diff(recording.ticks["robot_time_ns"])) == {1_000_000}
    assert inspect([str(file)]) == 0
    assert "incomplete" in capsys.readouterr().out
    with file.open("r+b") as opened:  # a power cut in the middle of an earlier chunk
        opened.truncate(file.stat().st_size * 2 // 3)
    assert 0 < len(load_recording(file).ticks) < len(recording.ticks)


def test_a_full_disk_is_reported_and_the_arm_goes_on(policy: Path, tmp_path: Path) -> None:
    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    with controller(tmp_path, policy, "--record", "continuous", prepare=limit_files) as (_, client):

        def failure() -> str:
            status = client.command("status")
            assert isinstance(status, dict)
            recorder = status["recorder"]
            assert isinstance(recorder, dict)
            return str(recorder["failure"])

        wait_for(lambda: failure() != "")
        assert "could not be written: File too large" in failure()
        before = ticks_of(client)
        wait_for(lambda: ticks_of(client) > before + 500)
    assert b"nothing was recorded" in (tmp_path / "output.txt").read_bytes()


def test_recording_needs_real_time(policy: Path) -> None:
    result = subprocess.run(
        [*PROGRAM, "--task", "reach", "--policy", policy, "--lockstep", "--record", "continuous"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 2
    assert "real time only" in result.stderr


def test_unknown_faults_are_named(policy: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [*PROGRAM, "--task", "reach", "--policy", policy, "--record-on", "crash", "--state", "none",
         "--commands", "none"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    assert "unknown fault 'crash': choose from none, target_invalid" in result.stderr


def test_what_is_not_a_recording_is_said(
    fault_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in {"empty": b"", "text": b"hello there, this is no recording"}.items():
        path = tmp_path / f"{name}.mcap"
        path.write_bytes(data)
        with pytest.raises(RecordingError, match="not a recording"):
            load_recording(path)
        assert inspect([str(path)]) == 2
        assert str(path) in capsys.readouterr().err
    damaged = tmp_path / "damaged.mcap"
    shutil.copy(fault_file, damaged)
    with damaged.open("r+b") as file:
        file.seek(900_000)
        file.write(b"\xff" * 8)
    with pytest.raises(RecordingError, match="crc"):
        load_recording(damaged)
    assert inspect([str(fault_file.with_suffix(".toml")), "--plot", "x.png"]) == 2


def test_a_definition_of_variable_size_is_refused() -> None:
    layout = tick_dtype("uint8 A=1\nuint8 a # comment\nfloat64[3] b\nuint32 c\n")
    assert layout.fields is not None
    assert [layout.fields[name][1] for name in ("a", "b", "c")] == [0, 8, 32]
    with pytest.raises(ValueError, match="string name"):
        tick_dtype("string name\n")


def test_reading_needs_no_package_but_for_recordings() -> None:
    code = (
        "import serl_rt.export.inspect, sys\nassert not {'mcap', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
