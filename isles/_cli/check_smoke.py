"""A small use of well-known packages: it runs code of their extension modules and asserts results.

Nothing here needs a network, a display or another process. Where a package has threads of its own,
they take part.
"""

import re
from textwrap import dedent
from typing import Final


def smoke_of(name: str) -> str:
    """The source for a distribution or import name; "" if there is none."""
    return dedent(SMOKES.get(normal(name), ""))


def first_of(name: str) -> list[str]:
    """The modules to import before those of a distribution."""
    return FIRST.get(normal(name), [])


def normal(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


# What has to be imported before the package itself.
FIRST: Final[dict[str, list[str]]] = {"psycopg-binary": ["psycopg"]}

SMOKES: Final[dict[str, str]] = {
    "aiohttp": """
        import asyncio
        from aiohttp import ClientSession, web

        async def main():
            async def hello(request):
                return web.json_response({"got": await request.json()})

            app = web.Application()
            app.router.add_post("/", hello)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            async with ClientSession() as session:
                async with session.post(f"http://127.0.0.1:{port}/", json=[1, 2]) as answer:
                    assert await answer.json() == {"got": [1, 2]}
            await runner.cleanup()

        asyncio.run(main())
    """,
    "asyncpg": """
        from asyncpg import Range, Record
        from asyncpg.pgproto.pgproto import UUID, WriteBuffer

        assert str(UUID("12345678-1234-5678-1234-567812345678")).startswith("12345678")
        assert Range(1, 5).lower == 1
        assert WriteBuffer is not None and issubclass(Record, object)
    """,
    "bcrypt": """
        import bcrypt

        hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4))
        assert bcrypt.checkpw(b"secret", hashed) and not bcrypt.checkpw(b"other", hashed)
    """,
    "brotli": """
        import brotli

        data = b"isles " * 10000
        assert brotli.decompress(brotli.compress(data)) == data
    """,
    "cffi": """
        import cffi

        ffi = cffi.FFI()
        ffi.cdef("int abs(int); double sqrt(double); typedef struct { int x, y; } point;")
        lib = ffi.dlopen(None)
        assert lib.abs(-3) == 3
        point = ffi.new("point *", {"x": 1, "y": 2})
        assert point.x + point.y == 3

        @ffi.callback("int(int)")
        def twice(number):
            return 2 * number

        assert twice(4) == 8
    """,
    "charset-normalizer": """
        from charset_normalizer import from_bytes

        text = "Ünïcödé text, longer than a few words, for the detector" * 5
        assert str(from_bytes(text.encode("utf-8")).best()) == text
    """,
    "contourpy": """
        import contourpy

        lines = contourpy.contour_generator(z=[[0, 1], [1, 2]], name="serial").lines(0.5)
        assert len(lines) == 1 and lines[0].shape == (2, 2)
        threaded = contourpy.contour_generator(
            z=[[i * j for i in range(50)] for j in range(50)], name="threaded", thread_count=2
        )
        assert threaded.lines(100.0)
    """,
    "coverage": """
        import coverage

        cover = coverage.Coverage(data_file=None)
        cover.start()
        exec(compile("x = 1\\ny = 2\\n", "covered.py", "exec"), {})
        cover.stop()
    """,
    "cryptography": """
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        fernet = Fernet(Fernet.generate_key())
        assert fernet.decrypt(fernet.encrypt(b"secret")) == b"secret"
        key = ec.generate_private_key(ec.SECP256R1())
        signature = key.sign(b"data", ec.ECDSA(hashes.SHA256()))
        key.public_key().verify(signature, b"data", ec.ECDSA(hashes.SHA256()))
    """,
    "duckdb": """
        import duckdb

        with duckdb.connect() as connection:
            query = "select sum(i), count(distinct i % 7) from range(1000000) t(i)"
            assert connection.execute(query).fetchone() == (499999500000, 7)
    """,
    "fonttools": """
        from fontTools.misc.bezierTools import calcCubicBounds
        from fontTools.cu2qu import curve_to_quadratic

        assert calcCubicBounds((0, 0), (0, 100), (100, 100), (100, 0)) == (0, 0, 100, 75.0)
        assert len(curve_to_quadratic([(0, 0), (0, 100), (100, 100), (100, 0)], 1)) > 3
    """,
    "frozenlist": """
        from frozenlist import FrozenList

        items = FrozenList([1, 2])
        items.append(3)
        items.freeze()
        assert list(items) == [1, 2, 3] and hash(items) == hash((1, 2, 3))
    """,
    "gevent": """
        import gevent
        from gevent.pool import Pool
        from gevent.threadpool import ThreadPool

        def work(number):
            gevent.sleep(0.001)
            return number * 2

        assert Pool(4).map(work, range(8)) == [0, 2, 4, 6, 8, 10, 12, 14]
        threads = ThreadPool(2)
        assert threads.spawn(sum, [1, 2]).get() == 3
        threads.kill()
    """,
    "google-crc32c": """
        import google_crc32c

        assert google_crc32c.implementation == "c"
        assert google_crc32c.value(b"123456789") == 0xE3069283
    """,
    "greenlet": """
        from greenlet import getcurrent, greenlet

        seen = []

        def other():
            seen.append(2)
            main.switch()
            seen.append(4)

        main = getcurrent()
        switched = greenlet(other)
        seen.append(1)
        switched.switch()
        seen.append(3)
        switched.switch()
        assert seen == [1, 2, 3, 4] and switched.dead
    """,
    "grpcio": """
        from concurrent.futures import ThreadPoolExecutor
        import grpc

        class Echo(grpc.GenericRpcHandler):
            def service(self, details):
                return grpc.unary_unary_rpc_method_handler(lambda request, context: request * 2)

        server = grpc.server(ThreadPoolExecutor(2), handlers=[Echo()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            for _ in range(20):
                assert channel.unary_unary("/test/Echo")(b"ab", timeout=20) == b"abab"
        server.stop(None).wait()
    """,
    "h5py": """
        import h5py
        import numpy as np

        with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
            file["x"] = np.arange(1000)
            assert file["x"][10:20].sum() == 145
    """,
    "httptools": """
        import httptools

        class Seen:
            url = b""

            def on_url(self, url):
                self.url += url

        seen = Seen()
        parser = httptools.HttpRequestParser(seen)
        parser.feed_data(b"GET /path?a=1 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        assert seen.url == b"/path?a=1" and parser.get_method() == b"GET"
        assert httptools.parse_url(b"http://host:80/p").port == 80
    """,
    "jiter": """
        import jiter

        assert jiter.from_json(b'{"a": [1, 2.5, null, "x"]}') == {"a": [1, 2.5, None, "x"]}
    """,
    "kiwisolver": """
        from kiwisolver import Solver, Variable

        x, y = Variable("x"), Variable("y")
        solver = Solver()
        for constraint in (x + y == 10, x == 3):
            solver.addConstraint(constraint)
        solver.updateVariables()
        assert y.value() == 7
    """,
    "lxml": """
        from lxml import etree, html

        root = etree.fromstring(b"<a><b x='1'>t</b><b x='2'/></a>")
        assert root.xpath("sum(//b/@x)") == 3.0
        assert html.fromstring("<p>one<br>two").text_content() == "onetwo"
        sheet = etree.XSLT(etree.XML(
            '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
            '<xsl:template match="/"><r><xsl:value-of select="count(//b)"/></r></xsl:template>'
            '</xsl:stylesheet>'))
        assert sheet(root).getroot().text == "2"
    """,
    "lz4": """
        import lz4.block
        import lz4.frame

        data = b"isles " * 10000
        assert lz4.frame.decompress(lz4.frame.compress(data)) == data
        assert lz4.block.decompress(lz4.block.compress(data)) == data
    """,
    "markupsafe": """
        from markupsafe import Markup, _speedups, escape

        assert escape("<a & b>") == Markup("&lt;a &amp; b&gt;")
    """,
    "matplotlib": """
        import io
        import matplotlib

        matplotlib.use("agg")
        from matplotlib.figure import Figure

        figure = Figure()
        axes = figure.subplots()
        axes.plot([1, 3, 2])
        axes.set_title("isles")
        out = io.BytesIO()
        figure.savefig(out, format="png")
        assert out.getvalue().startswith(b"\\x89PNG")
    """,
    "msgpack": """
        import msgpack

        value = {"a": [1, 2.5, None, b"x", "y"]}
        assert msgpack.unpackb(msgpack.packb(value)) == value
        assert "cmsgpack" in msgpack.Packer.__module__
    """,
    "msgspec": """
        import msgspec

        class User(msgspec.Struct):
            name: str
            tags: list[int] = []

        user = msgspec.json.decode(b'{"name": "x", "tags": [1, 2]}', type=User)
        assert user == User("x", [1, 2])
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(user), type=User) == user
    """,
    "multidict": """
        from multidict import CIMultiDict, MultiDict

        items = MultiDict([("a", 1), ("a", 2)])
        assert items.getall("a") == [1, 2]
        assert CIMultiDict(Key=1)["kEY"] == 1
    """,
    "numba": """
        import numba
        import numpy as np

        @numba.njit
        def total(values):
            result = 0.0
            for value in values:
                result += value * value
            return result

        assert total(np.arange(10.0)) == 285.0
    """,
    "numpy": """
        import numpy as np

        a = np.arange(1_000_000, dtype=np.float64)
        assert np.isclose(a @ a, np.sum(a * a))
        m = np.random.default_rng(1).standard_normal((100, 100))
        assert np.allclose(np.linalg.solve(m, m @ np.ones(100)), 1)
        assert np.allclose(np.fft.ifft(np.fft.fft(m)), m)
    """,
    "onnxruntime": """
        import onnxruntime

        assert "CPUExecutionProvider" in onnxruntime.get_available_providers()
        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type([2, 2], "float")
        assert value.shape() == [2, 2]
    """,
    "orjson": """
        import datetime
        import orjson

        value = {"a": [1, 2.5, None, "x"], "when": datetime.datetime(2024, 1, 2)}
        back = orjson.loads(orjson.dumps(value))
        assert back == {"a": [1, 2.5, None, "x"], "when": "2024-01-02T00:00:00"}
    """,
    "pandas": """
        import io
        import pandas as pd

        frame = pd.DataFrame({"a": [1, 2, 3, 4], "b": list("xyxy")})
        assert frame.groupby("b")["a"].sum().to_dict() == {"x": 4, "y": 6}
        back = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
        assert back.equals(frame)
        when = pd.date_range("2024-01-01", periods=48, freq="h")
        assert len(pd.Series(range(48), index=when).resample("D").mean()) == 2
    """,
    "pillow": """
        import io
        from PIL import Image, ImageDraw, ImageFilter

        image = Image.new("RGB", (64, 64), "navy")
        ImageDraw.Draw(image).ellipse((8, 8, 56, 56), fill="white")
        out = io.BytesIO()
        image.filter(ImageFilter.GaussianBlur(2)).save(out, "JPEG")
        assert Image.open(io.BytesIO(out.getvalue())).convert("L").getpixel((32, 32)) > 250
    """,
    "polars": """
        import polars as pl

        frame = pl.DataFrame({"a": range(1000), "b": [i % 3 for i in range(1000)]})
        found = frame.lazy().group_by("b").agg(pl.col("a").sum()).sort("b").collect()
        assert found["a"].to_list() == [166833, 166167, 166500]
        doubled = frame.select(pl.col("a").map_elements(lambda x: x * 2, return_dtype=pl.Int64))
        assert doubled["a"].sum() == 999000
    """,
    "propcache": """
        from propcache import cached_property

        class Thing:
            calls = 0

            @cached_property
            def value(self):
                self.calls += 1
                return 5

        thing = Thing()
        assert thing.value + thing.value == 10 and thing.calls == 1
    """,
    "protobuf": """
        from google.protobuf import descriptor_pb2, json_format, struct_pb2
        from google.protobuf.internal import api_implementation

        assert api_implementation.Type() == "upb"
        value = struct_pb2.Struct()
        value.update({"a": 1, "b": [True, "x"]})
        back = struct_pb2.Struct.FromString(value.SerializeToString())
        assert back == value and json_format.MessageToDict(back) == {"a": 1.0, "b": [True, "x"]}
        assert descriptor_pb2.DESCRIPTOR.message_types_by_name
    """,
    "psutil": """
        import os
        import psutil

        assert psutil.Process().pid == os.getpid()
        assert psutil.virtual_memory().total > 0 and psutil.cpu_count() > 0
    """,
    "psycopg-binary": """
        import psycopg
        from psycopg import adapt, pq

        assert pq.__impl__ == "binary"
        assert pq.Conninfo.parse(b"host=x port=5")
        adapters = adapt.Transformer()
        assert b"{1,2}" in adapters.as_literal([1, 2])
    """,
    "psycopg2-binary": """
        import psycopg2
        from psycopg2.extensions import adapt, parse_dsn

        assert parse_dsn("host=x port=5") == {"host": "x", "port": "5"}
        assert adapt([1, 2]).getquoted() == b"ARRAY[1,2]"
        try:
            psycopg2.connect("host=127.0.0.1 port=1 connect_timeout=2")
        except psycopg2.OperationalError:
            pass
    """,
    "pyarrow": """
        import io
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        table = pa.table({"a": list(range(10000)), "b": [str(i % 10) for i in range(10000)]})
        assert pc.sum(table["a"]).as_py() == 49995000
        out = io.BytesIO()
        pq.write_table(table, out)
        assert pq.read_table(io.BytesIO(out.getvalue()), use_threads=True) == table
        assert table.group_by("b").aggregate([("a", "sum")]).num_rows == 10
    """,
    "pydantic-core": """
        from pydantic_core import SchemaValidator, ValidationError, core_schema

        validator = SchemaValidator(core_schema.list_schema(core_schema.int_schema()))
        assert validator.validate_python(["1", 2]) == [1, 2]
        try:
            validator.validate_json('["x"]')
        except ValidationError as error:
            assert error.error_count() == 1
    """,
    "pydantic": """
        from pydantic import BaseModel

        class User(BaseModel):
            name: str
            tags: list[int] = []

        assert User.model_validate_json('{"name": "x", "tags": ["1"]}').tags == [1]
    """,
    "pymongo": """
        import bson
        from pymongo import MongoClient

        assert bson.has_c()
        value = {"a": [1, 2.5, None, "x"], "b": {"c": b"y"}}
        assert bson.decode(bson.encode(value)) == value
        MongoClient("mongodb://127.0.0.1:1", connect=False).close()
    """,
    "pynacl": """
        from nacl.public import PrivateKey, SealedBox
        from nacl.signing import SigningKey

        key = PrivateKey.generate()
        assert SealedBox(key).decrypt(SealedBox(key.public_key).encrypt(b"secret")) == b"secret"
        signing = SigningKey.generate()
        assert signing.verify_key.verify(signing.sign(b"data")) == b"data"
    """,
    "pyyaml": """
        import yaml

        value = {"a": [1, 2.5, None, "x"], "b": {"c": True}}
        text = yaml.dump(value, Dumper=yaml.CSafeDumper)
        assert yaml.load(text, Loader=yaml.CSafeLoader) == value
    """,
    "pyzmq": """
        import zmq

        with zmq.Context() as context:
            with context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as two:
                port = one.bind_to_random_port("tcp://127.0.0.1")
                two.connect(f"tcp://127.0.0.1:{port}")
                two.send_pyobj([1, 2])
                assert one.recv_pyobj() == [1, 2]
    """,
    "rapidfuzz": """
        from rapidfuzz import fuzz, process
        from rapidfuzz.distance import Levenshtein

        assert Levenshtein.distance("kitten", "sitting") == 3
        assert process.extractOne("isle", ["island", "isles", "aisle"])[0] in ("isles", "aisle")
        assert fuzz.ratio("same", "same") == 100
    """,
    "regex": """
        import regex

        assert regex.findall(r"\\p{Lu}\\w+", "Ärger mit Öl und wasser") == ["Ärger", "Öl"]
        assert regex.search(r"(?:isles){e<=1}", "islas")
    """,
    "rpds-py": """
        from rpds import HashTrieMap, List

        one = HashTrieMap({"a": 1})
        assert one.insert("b", 2)["b"] == 2 and "b" not in one
        assert list(List([1, 2]).push_front(0)) == [0, 1, 2]
    """,
    "safetensors": """
        import numpy as np
        from safetensors.numpy import load, save

        tensors = {"a": np.arange(6.0).reshape(2, 3)}
        assert np.array_equal(load(save(tensors))["a"], tensors["a"])
    """,
    "scikit-learn": """
        import numpy as np
        from sklearn.cluster import KMeans
        from sklearn.ensemble import RandomForestClassifier

        rng = np.random.default_rng(0)
        x = np.vstack([rng.normal(0, 1, (50, 2)), rng.normal(8, 1, (50, 2))])
        y = np.repeat([0, 1], 50)
        assert RandomForestClassifier(5, random_state=0).fit(x, y).score(x, y) > 0.95
        labels = KMeans(2, n_init=1, random_state=0).fit(x).labels_
        assert len(set(labels[:50])) == len(set(labels[50:])) == 1
    """,
    "scipy": """
        import numpy as np
        from scipy import integrate, linalg, optimize, sparse, stats
        from scipy.sparse.linalg import spsolve

        assert abs(integrate.quad(np.sin, 0, np.pi)[0] - 2) < 1e-9
        assert abs(optimize.brentq(lambda x: x * x - 2, 0, 2) - 2**0.5) < 1e-9
        assert np.allclose(linalg.inv(np.diag([1.0, 2.0])), np.diag([1, 0.5]))
        assert np.allclose(spsolve(sparse.eye(5, format="csc") * 2, np.ones(5)), 0.5)
        assert abs(stats.norm.cdf(0) - 0.5) < 1e-12
        assert optimize.minimize(lambda x: ((x - 3) ** 2).sum(), np.zeros(2)).success
    """,
    "shapely": """
        import shapely
        from shapely.geometry import Point, box

        circle = Point(0, 0).buffer(1)
        assert 3.1 < circle.area < 3.2
        assert abs(circle.intersection(box(0, 0, 1, 1)).area * 4 - circle.area) < 1e-6
        assert shapely.from_wkt("POINT (1 2)").x == 1
    """,
    "sqlalchemy": """
        import sqlalchemy as sa
        from sqlalchemy.util import has_compiled_ext

        assert has_compiled_ext()
        engine = sa.create_engine("sqlite://")
        table = sa.Table("t", sa.MetaData(), sa.Column("x", sa.Integer))
        with engine.begin() as connection:
            table.create(connection)
            connection.execute(table.insert(), [{"x": i} for i in range(10)])
            assert connection.execute(sa.select(sa.func.sum(table.c.x))).scalar() == 45
    """,
    "tiktoken": """
        import tiktoken

        ranks = {bytes([i]): i for i in range(256)} | {b"is": 256, b"les": 257}
        encoding = tiktoken.Encoding(
            "small", pat_str=r"\\w+|\\s+", mergeable_ranks=ranks, special_tokens={}
        )
        assert encoding.decode(encoding.encode("is les")) == "is les"
    """,
    "tokenizers": """
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE(unk_token="?"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.train_from_iterator(["an isle", "two isles"] * 50, trainers.BpeTrainer())
        assert [one.tokens for one in tokenizer.encode_batch(["isles", "an"])]
    """,
    "tomli": """
        import tomli

        assert tomli.loads("[a]\\nb = [1, 2.5]") == {"a": {"b": [1, 2.5]}}
    """,
    "tornado": """
        from tornado import speedups
        from tornado.ioloop import IOLoop

        async def main():
            return speedups.websocket_mask(b"abcd", b"data")

        assert IOLoop(make_current=False).run_sync(main) == bytes(
            a ^ b for a, b in zip(b"abcd", b"data")
        )
    """,
    "uvloop": """
        import asyncio
        import uvloop

        async def main():
            async def echo(reader, writer):
                writer.write(await reader.readline())
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello\\n")
            assert await reader.readline() == b"hello\\n"
            writer.close()
            server.close()
            return await asyncio.get_running_loop().run_in_executor(None, sum, [1, 2])

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(main()) == 3
    """,
    "watchfiles": """
        import pathlib
        import tempfile
        import threading
        import watchfiles

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "file")
            timer = threading.Timer(0.2, path.touch)
            timer.start()
            watched = watchfiles.watch(folder, rust_timeout=10_000, debounce=50, step=10)
            assert {one[1] for one in next(watched)} == {str(path)}
            timer.join()
    """,
    "websockets": """
        import asyncio
        import websockets
        from websockets import speedups

        async def main():
            async def echo(connection):
                async for message in connection:
                    await connection.send(message)

            async with websockets.serve(echo, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                async with websockets.connect(f"ws://127.0.0.1:{port}") as client:
                    await client.send("hello")
                    assert await client.recv() == "hello"

        asyncio.run(main())
        assert speedups.apply_mask(b"ab", b"0000") == bytes(a ^ 48 for a in b"ab")
    """,
    "wrapt": """
        import wrapt

        @wrapt.decorator
        def twice(wrapped, instance, args, kwargs):
            return 2 * wrapped(*args, **kwargs)

        @twice
        def number():
            return 4

        assert number() == 8
        assert isinstance(wrapt.ObjectProxy([1]), list)
    """,
    "xxhash": """
        import xxhash

        assert xxhash.xxh64_hexdigest(b"", seed=0) == "ef46db3751d8e999"
    """,
    "yarl": """
        from yarl import URL

        assert str(URL("http://host/ä b") / "c" % {"q": "ü"}) == "http://host/%C3%A4%20b/c?q=%C3%BC"
    """,
    "zstandard": """
        import zstandard

        data = b"isles " * 10000
        packed = zstandard.ZstdCompressor(threads=2).compress(data)
        assert zstandard.ZstdDecompressor().decompress(packed) == data
    """,
}
