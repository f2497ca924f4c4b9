"""What is judged by many pictures, as these: films, panoramas, volumes, point clouds, animations.

Each function yields views of one thing, one after the other, so that memory stays flat. Films need
``pip install "skiqa[video]"``; files of volumes and point clouds ``pip install "skiqa[views]"``.
"""

from skiqa.views._animation import animation_frames
from skiqa.views._panorama import viewports
from skiqa.views._points import point_cloud_projections
from skiqa.views._pooling import pool_views
from skiqa.views._video import video_frames
from skiqa.views._view import View
from skiqa.views._volume import volume_slices

__all__ = [
    "View",
    "animation_frames",
    "point_cloud_projections",
    "pool_views",
    "video_frames",
    "viewports",
    "volume_slices",
]
