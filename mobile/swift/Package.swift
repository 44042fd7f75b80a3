// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "Deputy",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [.library(name: "Deputy", targets: ["Deputy"])],
    targets: [
        .binaryTarget(name: "deputyFFI", path: "deputyFFI.xcframework"),
        .target(
            name: "Deputy",
            dependencies: ["deputyFFI"],
            linkerSettings: [
                .linkedFramework("Metal"),
                .linkedFramework("QuartzCore"),
                .linkedFramework("CoreGraphics"),
                .linkedFramework("Foundation"),
                .linkedLibrary("iconv"),
            ]
        ),
    ]
)
