"""VizDoom as a camera: a map, a place and commands in, frames and their ground truth out.

The maps are those of Freedoom, which come with VizDoom. Everything follows from the arguments:
the engine runs in step with us, each clip begins with a fresh start of its map under a seed of its
own, monsters do not see the player and so stand where they are.

T frames, S side of a frame, K boxes of a clip.
"""

import shlex
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from ivn.corpus.worlds.files import Take
from ivn.corpus.worlds.vizdoom.moves import CameraPlan, Geometry, geometry, moved_as_planned
from ivn.errors import DataError, one_line

# Distance from the plane of the camera, in map units, is about (depth + 0.5) * DEPTH_UNIT.
DEPTH_UNIT = 7.38

# Of 4:3 screens, width -> height. The frame is cut from the middle of one at least twice as large.
_SCREENS = {160: 120, 200: 150, 320: 240, 400: 300, 512: 384, 640: 480, 800: 600, 1280: 960}
_SCALE = 2

_SETTLE_TICS = 36  # until the player stands still and the camera is at its height
_PLAYER = "DoomPlayer"
PREROLL_TICS = 12  # until a push has reached most of its speed
_DARK = 8  # of 255, the mean of a frame
_VOID = 0.01  # share of a frame

# Parts of the picture that a player sees and a camera would not.
_HIDDEN = (
    *("hud", "weapon", "crosshair", "decals", "particles", "messages", "screen_flashes"),
    "effects_sprites",
)
# Commands and state of a tic, in the order of their numbers.
_BUTTONS = ("MOVE_FORWARD_BACKWARD_DELTA", "MOVE_LEFT_RIGHT_DELTA", "TURN_LEFT_RIGHT_DELTA")
_VARIABLES = ("POSITION_X", "POSITION_Y", "CAMERA_POSITION_Z", "ANGLE", "POSITION_Z")

# Games of one process crash when they start at the same moment.
_STARTING = threading.Lock()

# A launcher that becomes the engine, which makes files where it starts, outlives us when we are
# killed, and would be stopped by a Ctrl-C that is meant for us.
_LAUNCH = """
import ctypes, os, sys
os.chdir(sys.argv[1])
os.setpgrp()
if hasattr(ctypes.CDLL(None), "prctl"):
    ctypes.CDLL(None).prctl(1, 9)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Walk(Take):
    """A rendered clip of a walk.

    Depth is uint8, see :data:`DEPTH_UNIT`; poses are float64 ``[T, 4]``: x, y and height of the eye
    in map units, angle in degrees. Objects have an int32 number, and positions in map units.

    Attributes:
        box_name: ``[K]``, kind of the object.
    """

    box_name: np.ndarray

    def truth(self) -> dict[str, Any]:
        return super().truth() | {"box_name": self.box_name}


def screen_for(size: int) -> tuple[int, int]:
    """Returns width and height of the screen from which frames of ``size`` pixels are cut."""
    return next((w, h) for w, h in _SCREENS.items() if h >= _SCALE * size)


def imported() -> Any:
    """Returns the engine's package.

    Raises:
        DataError: it is not installed.
    """
    try:
        import vizdoom
    except ImportError as error:
        raise DataError(
            f"rendering this world needs VizDoom ({error}): pip install 'ivn[vizdoom]'"
        ) from error
    return vizdoom


class Engine:
    """One running game; not for several threads at a time.

    Args:
        size: side of a frame in pixels.
        first_map: any map of the WAD that holds all that will be rendered.
        with_geometry: whether to read the maps' sectors and things, too, which costs time with
            each frame.
    """

    def __init__(self, size: int, first_map: str, *, with_geometry: bool = False) -> None:
        self._vizdoom = imported()
        self.size = size
        self._folder = tempfile.TemporaryDirectory(prefix="ivn-vizdoom-")
        self.over = False
        self._game = self._start(first_map, with_geometry)

    def close(self) -> None:
        with _STARTING:
            self._game.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, first_map: str, with_geometry: bool) -> Any:
        viz = self._vizdoom
        width, height = screen_for(self.size)
        package = Path(viz.__file__).parent
        folder = Path(self._folder.name)
        launcher = folder / "engine"
        words = [sys.executable, "-ISc", _LAUNCH, str(folder), str(package / "vizdoom")]
        launcher.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        launcher.chmod(0o700)
        game = viz.DoomGame()
        game.set_vizdoom_path(str(launcher))
        game.set_doom_config_path(str(folder / "engine.ini"))
        wad = "freedoom1.wad" if first_map.startswith("E") else "freedoom2.wad"
        game.set_doom_game_path(str(package / wad))
        game.set_doom_scenario_path("")
        game.set_doom_map(first_map)
        game.set_screen_resolution(getattr(viz.ScreenResolution, f"RES_{width}X{height}"))
        game.set_screen_format(viz.ScreenFormat.RGB24)
        game.set_depth_buffer_enabled(True)
        game.set_labels_buffer_enabled(True)
        game.set_sectors_info_enabled(with_geometry)
        game.set_objects_info_enabled(with_geometry)
        for part in _HIDDEN:
            getattr(game, f"set_render_{part}")(False)
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        # Words over the picture: "A secret is revealed!"
        game.add_game_args("+cl_showsecretmessage 0 +con_midtime 0")
        # In step with us: its clock is the number of calls.
        game.set_mode(viz.Mode.PLAYER)
        game.set_episode_timeout(0)
        game.set_available_buttons([getattr(viz.Button, name) for name in _BUTTONS])
        game.set_available_game_variables([getattr(viz.GameVariable, name) for name in _VARIABLES])
        game.set_seed(0)
        try:
            with _STARTING:
                game.init()
        except viz.ViZDoomErrorException as error:
            raise DataError(f"VizDoom does not start: {one_line(error)}") from error
        return game

    def geometry(self, map_name: str) -> Geometry:
        """Returns the geometry of a map; for an engine made ``with_geometry``."""
        self.enter(map_name, 0)
        state = self._game.get_state()
        lines = [
            (line, number) for number, sector in enumerate(state.sectors) for line in sector.lines
        ]
        things = [
            (thing.position_x, thing.position_y) for thing in state.objects if thing.name != _PLAYER
        ]
        return geometry(
            np.array([[line.x1, line.y1, line.x2, line.y2] for line, _ in lines]),
            np.array([line.is_blocking for line, _ in lines]),
            np.array([number for _, number in lines]),
            np.array([sector.floor_height for sector in state.sectors]),
            np.array([sector.ceiling_height for sector in state.sectors]),
            np.array(things).reshape(-1, 2),
        )

    def enter(self, map_name: str, seed: int) -> None:
        """Starts a map of :data:`.options.ALL_MAPS` anew, with ``seed`` below 2**31."""
        viz = self._vizdoom
        try:
            self._game.set_seed(seed)
            # Starts it, too, also where it is the same map.
            self._game.set_doom_map(map_name)
        except (viz.ViZDoomErrorException, viz.ViZDoomUnexpectedExitException) as error:
            raise DataError(f"VizDoom cannot enter {map_name}: {one_line(error)}") from error
        self._game.send_game_command("notarget")
        self.over = False

    def take(
        self, start: tuple[float, float, float, float], planned: CameraPlan, tics: int
    ) -> Walk | None:
        """Renders a clip in the map as it is; None if the plan could not be kept.

        Afterwards ``over`` says whether the map has to be entered again.

        Args:
            start: result of :func:`.moves.find_start`.
            planned: the commands.
            tics: tics from frame to frame.
        """
        x, y, angle, floor = start
        self._game.send_game_command(f"warp {x:.2f} {y:.2f}")
        if not self._act([0, 0, 0], _SETTLE_TICS):
            return None
        variables = self._game.get_state().game_variables
        if abs(variables[4] - floor) > 1:
            return None
        turn = (variables[3] - angle + 180) % 360 - 180
        commands = planned.commands * [1, 1, -1]  # the engine turns to the right
        if not self._act([0, 0, turn], 1) or not self._act(commands[0].tolist(), PREROLL_TICS):
            return None
        views: list[tuple[np.ndarray, ...]] = []
        for command in commands:
            views.append(self._view())
            if not _worth_seeing(*views[-1][:2]):
                return None
            if not moved_as_planned(planned, np.stack([view[2] for view in views]), tics):
                return None
            if not self._act(command.tolist(), tics):
                return None
        return _joined(views)

    def _act(self, command: list[float], tics: int) -> bool:
        """Holds a command for some tics; False if the player did not survive or left."""
        self._game.make_action(command, tics)
        self.over = self._game.is_episode_finished() or self._game.is_player_dead()
        return not self.over

    def _view(self) -> tuple[np.ndarray, ...]:
        """Returns frame, depth, pose; boxes, numbers, positions and names of visible objects."""
        state, size = self._game.get_state(), self.size
        height, width = state.depth_buffer.shape
        top, left = (height - _SCALE * size) // 2, (width - _SCALE * size) // 2
        window = np.s_[top : top + _SCALE * size, left : left + _SCALE * size]
        frame = np.asarray(Image.fromarray(state.screen_buffer[window]).reduce(_SCALE))
        # Walls end at this depth on a screen of this width, floors go on: all end here.
        far = min(255, width * 2 // 5 - 1)
        depth = np.minimum(state.depth_buffer[window][::_SCALE, ::_SCALE], far)
        shown = state.labels_buffer[window][::_SCALE, ::_SCALE]
        found = []
        for label in state.labels:
            rows, columns = np.nonzero(shown == label.value)
            if not len(rows) or label.object_name == _PLAYER:
                continue
            box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            place = label.object_position_x, label.object_position_y, label.object_position_z
            found.append((box, label.object_id, place, label.object_name))
        boxes, objects, places, names = zip(*found, strict=True) if found else ((),) * 4
        return (
            frame,
            depth,
            np.array(state.game_variables[:4]),
            np.array(boxes, np.int16).reshape(-1, 4),
            np.array(objects, np.int32),
            np.array(places, np.float32).reshape(-1, 3),
            np.array(names, "U32"),
        )


def _worth_seeing(frame: np.ndarray, depth: np.ndarray) -> bool:
    """Returns whether a view is not almost black, nor from outside all rooms, where depth is 0."""
    return bool(frame.mean() >= _DARK and (depth == 0).mean() < _VOID)


def _joined(views: list[tuple[np.ndarray, ...]]) -> Walk:
    frames, depth, poses, boxes, objects, places, names = zip(*views, strict=True)
    return Walk(
        np.stack(frames),
        np.stack(depth),
        np.stack(poses),
        np.concatenate(boxes),
        np.repeat(np.arange(len(boxes), dtype=np.int16), [len(each) for each in boxes]),
        np.concatenate(objects),
        np.concatenate(places),
        np.concatenate(names),
    )
