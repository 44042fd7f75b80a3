from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel


class Platform(Distribution):
    """The library is for one platform, though setuptools compiles nothing."""

    def has_ext_modules(self):
        return True


class AnyPython(bdist_wheel):
    """It is loaded with ctypes, so any Python 3 will do."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(distclass=Platform, cmdclass={"bdist_wheel": AnyPython})
