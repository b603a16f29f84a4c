import pathlib
pathlib.Path(__file__).with_suffix(".out").write_text("beside"); pathlib.Path("sub/deep").mkdir(parents=True)
pathlib.Path("link").symlink_to("nowhere")
