"""Small databases of images as they came, in their official layouts."""

import numpy as np
from database_trees import cells, touch, write_csv
from scipy.io import savemat


def clive(root):
    names = [f"t{n}.bmp" for n in range(1, 8)] + ["3.bmp", "4.JPG", "10.bmp"]
    mos, spread = np.linspace(3.42, 92.4, 10), np.linspace(15, 25, 10)
    touch(root, [f"Images/{name}" for name in names[7:]])
    touch(root, [f"Images/trainingImages/{name}" for name in names[:7]])
    (root / "Data").mkdir()
    nested = cells([cells([name], (1, 1)) for name in names], (-1, 1))
    savemat(root / "Data" / "AllImages_release.mat", {"AllImages_release": nested})
    savemat(root / "Data" / "AllMOS_release.mat", {"AllMOS_release": mos[None]})
    savemat(root / "Data" / "AllStdDev_release.mat", {"AllStdDev_release": spread[None]})
    data = [f"Images/{name}" for name in names[7:]]
    return {"data": data, "target": mos[7:], "target_std": spread[7:]}


def koniq10k(root, sets=True):
    # from the authors' file
    rows = [
        "5889219072.jpg,0.0,0.0098,0.5196,0.4510,0.0196,102,68.3871681416,0.55811550238,validation",
        "5891588921.jpg,0.0,0.0,0.2613,0.6937,0.0450,111,75.25,0.511777746601,test",
        "5895424608.jpg,0.0,0.4312,0.5046,0.0550,0.0092,109,43.625,0.63132629029,training",
    ]
    parts = [row.split(",") for row in rows]
    files = [f"1024x768/{row[0]}" for row in parts]
    touch(root, [*files, *(f"512x384/{row[0]}" for row in parts)])
    head = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD"
    if sets:
        text = "\n".join([f"{head},set", *rows]) + "\n"
        (root / "koniq10k_distributions_sets.csv").write_text(text)
    else:
        quoted = [f'"{p[0]}",' + ",".join(p[1:7]) + f",3.7,{p[8]},{p[7]}" for p in parts]
        text = "\n".join(['"image_name",' + head.partition(",")[2] + ",MOS_zscore", *quoted])
        (root / "koniq10k_scores_and_distributions.csv").write_text(text + "\n")
    return {
        "data": files,
        "target": [float(p[7]) for p in parts],
        "target_std": [float(p[8]) for p in parts],
        "split": ["val", "test", "train"] if sets else None,
    }


def spaq_sheet():
    return [
        ["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"],
        ["00001.jpg", 24.36, 52.6, 41.8, 47.1, 35.2, 26.9],
        ["11125.jpg", 71, 60, 55.5, 61.2, 66.6, 71.1],
    ]


def spaq(root):
    write_csv(root / "Annotations" / "MOS and Image attribute scores.csv", spaq_sheet())
    touch(root, ["TestImage/00001.jpg", "TestImage/11125.jpg"])
    return {"data": ["TestImage/00001.jpg", "TestImage/11125.jpg"], "target": [24.36, 71]}


def flive(root, split=True):
    base = root / "database"
    rows = [
        ("voc_emotic_ava/AVA__884836.jpg", 70.25),
        ("EE371R/rq59.jpg", 40.5),
        ("blur_dataset/motion0129.jpg", 49.93445252544675),
        ("voc_emotic_ava/JPEGImages__2007_002470.jpg", 75.96),
    ]
    write_csv(base / "labels_image.csv", [("name", "mos"), *rows])
    touch(base, [row[0] for row in rows] + ["patches/rq59.jpg_patch_1.jpg"])
    if split:
        write_csv(base / "labels640.csv", [("mos_patch_1", "name_image"), (76.5, rows[0][0])])
        small = [(rows[1][0], "True"), (rows[2][0], "False"), (rows[3][0], "False")]
        write_csv(base / "labels<=640_padded.csv", [("name_image", "is_valid"), *small])
    return {
        "data": [f"database/{row[0]}" for row in rows],
        "target": [row[1] for row in rows],
        "split": ["test", "val", "train", "train"] if split else None,
    }


def bid(root):
    rows = [("Image Number", "Average Grade"), (1, 2.4), (2, 4.05), (586, 0.3)]
    write_csv(root / "DatabaseGrades.csv", rows)
    data = [f"DatabaseImage{n:04d}.JPG" for n in (1, 2, 586)]
    touch(root, data)
    return {"data": data, "target": [2.4, 4.05, 0.3]}


def cid2013(root, together=False):
    ids = ["IS_I_C01_D01", "IS_V_C05_D03", "IS_VI_C08_D14"]
    data = [f"IS1/co1/{ids[0]}.jpg", f"IS5/co5/{ids[1]}.jpg", f"IS6/co8/{ids[2]}.jpg"]
    if together:
        data = [f"{name}.jpg" for name in ids]
    touch(root, data)
    header = ["Source_ID", "Image set specific  MOS", "Realigned MOS", "Sharpness"]
    mos = [61.2, 81.7490154913675, 10.4809695268716]
    rows = [[i, 50, m, 40] for i, m in zip(ids, mos, strict=True)]
    write_csv(root / "CID2013 data - version 12112014.csv", [header, *rows])
    return {"data": data, "target": mos, "groups": ["C01", "C05", "C08"]}


def biq2021(root, later=False):
    train = [("ss01 (1504).jpg", 0.5331), ("ss03 (2029).jpg", 0.7573)]
    test = [("ss02 (20).jpg", 0.6923)]
    for part, rows in (("Train", train), ("Test", test)):
        file = f"{part}.csv" if later else f"{part} (Images and MOS).csv"
        write_csv(root / file, [("Image Name", "MOS"), *rows])
    data = [f"Images/{name}" for name, _ in (*train, *test)]
    touch(root, data)
    mos = [m for _, m in (*train, *test)]
    return {"data": data, "target": mos, "split": ["train", "train", "test"]}


def uhd_iqa(root, together=False):
    rows = [("1.jpg", 0.61, "training"), ("2.jpg", 0.42, "test"), ("3.jpg", 0.55, "validation")]
    header = ("image_name", "quality_mos", "set", "subset")
    write_csv(root / "uhd-iqa-metadata.csv", [header, *((*row, "") for row in rows)])
    data = [f"{'images' if together else part}/{name}" for name, _, part in rows]
    touch(root, data)
    return {"data": data, "target": [r[1] for r in rows], "split": ["train", "test", "val"]}


def agiqa3k(root):
    # from the authors' file
    (root / "data.csv").write_text(
        "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align\n"
        "xl2.2_normal_059.jpg,barak obama as master chief,,,,3.835000098,0.704624045,3.55,0.418\n"
        'xl2.2_normal_060.jpg,"artwork with only triangles, anime style",,,anime style,'
        "3.568964411,0.486342725,1.759600793,0.674568896\n"
        'AttnGAN_normal_060.jpg,"artwork with only triangles, anime style",,,anime style,'
        "0.5,0.3,0.7,0.6\n"
    )
    data = ["xl2.2_normal_059.jpg", "xl2.2_normal_060.jpg", "AttnGAN_normal_060.jpg"]
    touch(root, data)
    prompt = "artwork with only triangles, anime style"
    return {
        "data": data,
        "target": [3.835000098, 3.568964411, 0.5],
        "target_std": [0.704624045, 0.486342725, 0.3],
        "groups": ["barak obama as master chief", prompt, prompt],
    }


AUTHENTIC = [clive, koniq10k, spaq, flive, bid, cid2013, biq2021, uhd_iqa, agiqa3k]
