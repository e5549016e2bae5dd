"""How every run starts: one frozen configuration, a record of the run, and errors of one line."""

from launch.command import exit_on_bad_input
from launch.config import ConfigError, convert, load_config, to_plain
from launch.files import in_words, make_output_folder, replace_when_complete
from launch.record import describe_software, write_record

__all__ = [
    "ConfigError",
    "convert",
    "describe_software",
    "exit_on_bad_input",
    "in_words",
    "load_config",
    "make_output_folder",
    "replace_when_complete",
    "to_plain",
    "write_record",
]
